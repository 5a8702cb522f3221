/* main - imaging-toolkit: find the sub-command, run it, tell its failure, exit with its status. */

#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/http.h"
#include "base/io.h"
#include "base/no-core.h"
#include "cmd/cmd.h"
#include "core/cancel.h"
#include "core/urls.h"

static const char program[] = "imaging-toolkit";

static void print_help(FILE *to)
{
    fputs("usage: imaging-toolkit COMMAND [options]\n"
          "\n"
          "  imaging-toolkit info disk.vmdk\n"
          "  imaging-toolkit convert -f vmdk -O raw disk.vmdk disk.raw\n"
          "\n",
          to);
    for (size_t i = 0; im_commands[i]; i++)
        fprintf(to, "  %-14s %s\n", im_commands[i]->name, im_commands[i]->summary);
    fputs("\n'imaging-toolkit COMMAND --help' tells more.\n", to);
}

static const struct im_command *find(const char *name)
{
    for (size_t i = 0; im_commands[i]; i++)
        if (strcmp(im_commands[i]->name, name) == 0)
            return im_commands[i];
    return NULL;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return true;
    return false;
}

/* A result nobody could be given is a failure: a full disk behind standard output, say. */
static int flush(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "%s: error: cannot write standard output\n", program);
    return status ? status : IM_FAILED;
}

static int run(const struct im_command *command, int argc, char **argv)
{
    struct im_error err = { 0 };
    int status;

    if (wants_help(argc, argv)) {
        fputs(command->help, stdout);
        return flush(0);
    }
    im_cancel_catch_signals();
    im_http_obey(&im_urls);
    status = command->run(argc, argv, &err);
    if (err.number)
        im_error_print(program, &err);
    return flush(status);
}

int main(int argc, char **argv)
{
    const struct im_command *command;

    im_fill_standard();
    im_no_core();
    if (argc < 2) {
        print_help(stderr);
        return IM_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        print_help(stdout);
        return flush(0);
    }
    if (strcmp(argv[1], "--version") == 0) {
        puts("imaging-toolkit " PACKAGE_VERSION);
        return flush(0);
    }
    command = find(argv[1]);
    if (!command) {
        fprintf(stderr, "%s: error: there is no command '%s'; see '%s --help'\n", program, argv[1],
                program);
        return IM_USAGE;
    }
    return run(command, argc - 1, argv + 1);
}
