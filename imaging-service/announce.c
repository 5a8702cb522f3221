/* announce - what a service that has started prints, and env.sh. */

#include <config.h>

#include "announce.h"

#include <errno.h>
#include <stdio.h>

#include "base/buffer.h"
#include "base/cleanup.h"
#include "file.h"
#include "objects/target.h"

/* Bytes of env.sh: addresses and names, and a key. */
#define ENV_MAX 4096

/* Bytes of a database's URI that are printed. */
#define DATABASE_SHOWN 2048

static void wipe_buffer(struct im_buffer *buffer)
{
    if (buffer->data)
        im_wipe(buffer->data, buffer->capacity);
    im_buffer_done(buffer);
}

/* The keys of the first account as lines of env.sh; a comment when it has none, so that the service
 * still starts. */
static int write_keys(struct svc_accounts *accounts, struct im_buffer *out, struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int r = svc_accounts_first_keys(accounts, &keys, err);

    if (r == -ENOENT)
        return im_buffer_printf(out, "# %s; see imaging-service account --help\n", err->message);
    if (r < 0)
        return r;
    return im_buffer_printf(out,
                            "export AWS_ACCESS_KEY_ID=%s\n"
                            "export AWS_SECRET_ACCESS_KEY=%s\n",
                            keys.access_key, keys.secret_key);
}

/* Where the service is, and what opens it; of one among several that is nobody's keys. */
static int write_env(const struct svc_announcement *what, struct im_buffer *out,
                     struct im_error *err)
{
    int r = im_buffer_printf(out, "export EC2_URL=%s/\n", what->endpoint);

    if (r == 0 && what->accounts)
        r = im_buffer_printf(out, "export S3_URL=%s" SVC_OBJECTS_PATH "/\n", what->endpoint);
    if (r == 0 && what->accounts)
        r = write_keys(what->accounts, out, err);
    if (r == 0)
        r = im_buffer_printf(out, "export EC2_AVAILABILITY_ZONE=%s\n", what->conf->zones.item[0]);
    return r;
}

/* Print what env.sh would hold, and write it where there is one. */
static int show_env(const struct svc_conf *conf, const char *text, struct im_error *err)
{
    char database[DATABASE_SHOWN];
    int r = conf->env_path ? svc_file_write(conf->env_path, text, err) : 0;

    if (r < 0)
        return r;
    if (conf->env_path)
        (void)printf("imaging-service " PACKAGE_VERSION ", everything in %s\n%s"
                     "These lines are in %s\n",
                     conf->dir, text, conf->env_path);
    else
        (void)printf("imaging-service " PACKAGE_VERSION ", instance %s\ndatabase %s\nvolumes in "
                     "%s\n%s",
                     conf->instance_name, svc_conf_database(conf, database, sizeof(database)),
                     conf->volumes_dir, text);
    return 0;
}

int svc_announce(const struct svc_announcement *what, struct im_error *err)
{
    struct im_buffer text IM_CLEANUP(wipe_buffer) = IM_BUFFER(ENV_MAX);
    int r = write_env(what, &text, err);

    if (r < 0)
        return err->number ? r : im_fail(err, -r, "cannot write the lines of env.sh");
    r = show_env(what->conf, text.data, err);
    if (r < 0)
        return r;
    if (what->status_port)
        (void)printf("Its status is at %s port %u: /live, /ready and /metrics\n",
                     what->conf->status.address, (unsigned)what->status_port);
    if (what->trouble)
        (void)printf("No volume can be imported until this is mended: %s\n", what->trouble);
    (void)puts("ready");
    if (fflush(stdout) != 0)
        return im_fail_errno(err, errno, "cannot write to standard output");
    return 0;
}
