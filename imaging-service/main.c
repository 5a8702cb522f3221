/* imaging-service - start, wait, stop.
 *
 * Everything is put together here and nothing is decided here. */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/api.h"
#include "xml.h"
#include "auth/accounts.h"
#include "base/buffer.h"
#include "base/cleanup.h"
#include "base/io.h"
#include "base/text.h"
#include "cmd/account.h"
#include "conf/conf.h"
#include "dispatch/dispatch.h"
#include "file.h"
#include "http/httpd.h"
#include "http/query-handler.h"
#include "http/tls.h"
#include "log.h"
#include "objects/objects.h"
#include "objects/target.h"
#include "task/task.h"

/* Bytes of env.sh: addresses and names, and a key. */
#define ENV_MAX 4096

/* What runs, in the order in which it is started; stopped the other way round. */
struct service {
    struct svc_conf conf;
    int lock; /* descriptor of DIR/lock, held while the process lives */
    struct svc_accounts *accounts;
    struct svc_throttle *throttle;
    struct task_table *tasks;
    struct dispatch *dispatch;
    struct svc_store *store;
    struct svc_api api;
    struct svc_query_service query_service;
    struct svc_object_service object_service;
    struct svc_route routes[2];
    struct svc_httpd *httpd;
    char *objects_url;
};

static int make_dir(const char *path, struct im_error *err)
{
    struct stat st;

    if (mkdir(path, 0700) == 0)
        return im_sync_parent(path) < 0 ? im_fail_errno(err, errno, "cannot create '%s'", path) : 0;
    if (errno != EEXIST)
        return im_fail_errno(err, errno, "cannot create the directory '%s'", path);
    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode))
        return im_fail(err, ENOTDIR, "'%s' is in the way: a directory is needed there", path);
    return 0;
}

/* Two services on one directory would undo each other's work. */
static int lock_dir(struct service *service, struct im_error *err)
{
    char *path IM_FREE = im_asprintf("%s/lock", service->conf.dir);

    if (!path)
        return im_fail(err, ENOMEM, "out of memory");
    service->lock = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (service->lock < 0)
        return im_fail_errno(err, errno, "cannot open '%s'", path);
    if (flock(service->lock, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK)
        return im_fail(err, EBUSY,
                       "another imaging-service is at work in '%s'; stop it, or choose another "
                       "directory",
                       service->conf.dir);
    return im_fail_errno(err, errno, "cannot lock '%s'", path);
}

static int prepare(struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    const char *const dirs[] = { conf->objects_dir, conf->volumes_dir, conf->scratch_dir };
    int r = make_dir(conf->dir, err);

    if (r == 0)
        r = lock_dir(service, err);
    for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++)
        r = make_dir(dirs[i], err);
    if (r == 0)
        r = svc_accounts_open(conf->dir, conf->master_key, &service->accounts, err);
    return r;
}

static void wake(void *worker)
{
    dispatch_wake(worker);
}

static const char *trouble(void *worker, char *buf, size_t size)
{
    return dispatch_trouble(worker, buf, size);
}

/* Bind the port, so that it is known before anybody is served. */
static int open_door(struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    const struct svc_httpd_options options = {
        .address = conf->address,
        .port = conf->port,
        .certificate = conf->tls_certificate,
        .key = conf->tls_key,
        .connections = conf->connections,
        .connections_per_address = conf->connections_per_address,
        .idle_s = conf->idle_seconds,
        .request_s = conf->request_seconds,
    };

    return svc_httpd_open(&options, &service->httpd, err);
}

/* The URL clients reach the service by; "any address" is none. */
static char *endpoint(const struct service *service)
{
    const struct svc_conf *conf = &service->conf;
    const char *host = conf->public_host ? conf->public_host : conf->address;
    const char *format = host[0] != '[' && strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u";

    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    return im_asprintf(format, conf->tls_certificate ? "https" : "http", host,
                       svc_httpd_port(service->httpd));
}

/* Let the workers find uploads in our own object store. */
static int show_objects(struct service *service, struct im_error *err)
{
    char *where IM_FREE = endpoint(service);

    if (where)
        service->objects_url = im_asprintf("%s" SVC_OBJECTS_PATH "/", where);
    if (!service->objects_url)
        return im_fail(err, ENOMEM, "out of memory");
    dispatch_objects(service->dispatch, service->objects_url);
    return 0;
}

static int serve(struct service *service, struct im_error *err)
{
    service->api = (struct svc_api){
        .conf = &service->conf,
        .throttle = service->throttle,
        .tasks = service->tasks,
        .objects_url = service->objects_url,
        .wake = wake,
        .trouble = trouble,
        .worker = service->dispatch,
    };
    service->query_service =
        (struct svc_query_service){ .api = &service->api, .accounts = service->accounts };
    service->object_service =
        (struct svc_object_service){ .store = service->store, .accounts = service->accounts };
    service->routes[0] = (struct svc_route){
        .path = SVC_OBJECTS_PATH,
        .handler = &svc_object_handler,
        .service = &service->object_service,
        .id_field = "x-amz-request-id",
        .long_bodies = true,
    };
    service->routes[1] = (struct svc_route){
        .path = "",
        .handler = &svc_query_handler,
        .service = &service->query_service,
        .id_field = "x-amzn-RequestId",
    };
    return svc_httpd_serve(service->httpd, service->routes, 2, err);
}

static int open_tasks(struct service *service, struct im_error *err)
{
    const struct task_options options = {
        .where = service->conf.tasks_path,
        .worker = "standalone",
        .alone = true,
        .connections = 1,
        .delete_uploads = svc_conf_is(service->conf.delete_uploads),
    };

    return task_table_open(&options, &service->tasks, err);
}

static int start(struct service *service, struct im_error *err)
{
    int r = prepare(service, err);

    if (r == 0)
        r = open_tasks(service, err);
    if (r == 0)
        r = svc_store_open(service->conf.objects_dir, svc_accounts_first(service->accounts),
                           &service->store, err);
    if (r == 0)
        r = open_door(service, err);
    if (r == 0)
        r = dispatch_start(&service->conf, service->tasks, &service->dispatch, err);
    if (r == 0)
        r = show_objects(service, err);
    if (r == 0)
        r = serve(service, err);
    return r;
}

static void stop(struct service *service)
{
    service->httpd = svc_httpd_stop(service->httpd); /* operations call the dispatcher */
    service->dispatch = dispatch_stop(service->dispatch);
    service->throttle = svc_throttle_free(service->throttle);
    service->store = svc_store_close(service->store);
    service->tasks = task_table_close(service->tasks);
    service->accounts = svc_accounts_close(service->accounts);
    if (service->lock >= 0)
        (void)close(service->lock);
    free(service->objects_url);
    svc_conf_done(&service->conf);
}

static void wipe_buffer(struct im_buffer *buffer)
{
    if (buffer->data)
        im_wipe(buffer->data, buffer->capacity);
    im_buffer_done(buffer);
}

/* The keys of the first account as lines of env.sh; a comment when it has none, so that the service
 * still starts. */
static int write_keys(const struct service *service, struct im_buffer *out, struct im_error *err)
{
    struct svc_keys keys SVC_KEYS_WIPE = { 0 };
    int r = svc_accounts_first_keys(service->accounts, &keys, err);

    if (r == -ENOENT)
        return im_buffer_printf(out, "# %s; see imaging-service account --help\n", err->message);
    if (r < 0)
        return r;
    return im_buffer_printf(out,
                            "export AWS_ACCESS_KEY_ID=%s\n"
                            "export AWS_SECRET_ACCESS_KEY=%s\n",
                            keys.access_key, keys.secret_key);
}

static int write_env(const struct service *service, struct im_buffer *out, struct im_error *err)
{
    char *where IM_FREE = endpoint(service);
    int r = where ? im_buffer_printf(out,
                                     "export EC2_URL=%s/\n"
                                     "export S3_URL=%s" SVC_OBJECTS_PATH "/\n",
                                     where, where)
                  : -ENOMEM;

    if (r == 0)
        r = write_keys(service, out, err);
    if (r == 0)
        r = im_buffer_printf(out, "export EC2_AVAILABILITY_ZONE=%s\n", service->conf.zones.item[0]);
    return r;
}

/* Tell people and scripts where the service is. */
static int announce(const struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    struct im_buffer text IM_CLEANUP(wipe_buffer) = IM_BUFFER(ENV_MAX);
    char sentence[IM_ERROR_MAX];
    const char *missing;
    int r = write_env(service, &text, err);

    if (r < 0)
        return err->number ? r : im_fail(err, -r, "cannot write '%s'", conf->env_path);
    r = svc_file_write(conf->env_path, text.data, err);
    if (r < 0)
        return r;
    (void)printf("imaging-service " PACKAGE_VERSION ", everything in %s\n%s"
                 "These lines are in %s\n",
                 conf->dir, text.data, conf->env_path);
    missing = dispatch_trouble(service->dispatch, sentence, sizeof(sentence));
    if (missing) /* the dispatcher has logged it */
        (void)printf("No volume can be imported until this is mended: %s\n", missing);
    (void)puts("ready");
    if (fflush(stdout) != 0)
        return im_fail_errno(err, errno, "cannot write to standard output");
    return 0;
}

/* Signals are taken by sigwait in this thread alone; the others inherit the mask. */
static void block_signals(sigset_t *ret_set)
{
    (void)sigemptyset(ret_set);
    (void)sigaddset(ret_set, SIGTERM);
    (void)sigaddset(ret_set, SIGINT);
    (void)sigaddset(ret_set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, ret_set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

/* The certificate is what changes while a service runs. */
static void reload(struct service *service)
{
    struct im_error err = { 0 };

    if (svc_httpd_reload(service->httpd, &err) < 0)
        svc_log(SVC_ERROR, "signal %d: the old certificate stays in use: %s", SIGHUP, err.message);
    else
        svc_log(SVC_INFO, "signal %d: %s", SIGHUP,
                service->conf.tls_certificate ? "certificate and key have been read again"
                                              : "without TLS there is nothing to read again");
}

/* Until SIGTERM or SIGINT; then finish what clients are waiting for. */
static void attend(struct service *service, const sigset_t *signals)
{
    unsigned seconds = service->conf.stop_seconds;
    int number = 0;
    size_t left;

    while (sigwait(signals, &number) != 0 || number == SIGHUP)
        if (number == SIGHUP)
            reload(service);
    svc_log(SVC_INFO, "signal %d: stopping; requests under way have %u seconds", number, seconds);
    /* a second signal ends the process at once; what is not finished is recovered next time */
    (void)signal(SIGHUP, SIG_IGN);
    (void)pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    left = svc_httpd_drain(service->httpd, seconds);
    if (left > 0)
        svc_log(SVC_WARNING, "%zu connections did not end in time and are cut off", left);
}

static int run(struct service *service)
{
    struct im_error err = { 0 };
    sigset_t signals;
    int r;

    block_signals(&signals);
    r = start(service, &err);
    if (r == 0)
        r = announce(service, &err);
    if (r == 0)
        attend(service, &signals);
    stop(service);
    if (r < 0)
        im_error_print("imaging-service", &err);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* What the settings say about things they do not know themselves: the actions, and files. */
static int check_settings(struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    int r = svc_api_throttle(conf, &service->throttle, err);

    if (r == 0 && conf->check_only && conf->tls_certificate)
        r = svc_tls_load(conf->tls_certificate, conf->tls_key, err);
    return r;
}

static int start_or_show(struct service *service)
{
    int r;

    if (!service->conf.check_only) {
        svc_xml_global();
        return run(service);
    }
    r = svc_conf_print(&service->conf, stdout);
    stop(service);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    struct service service = { .lock = -1 };
    struct im_error err = { 0 };
    int r;

    (void)umask(077);
    if (argc > 1 && strcmp(argv[1], "account") == 0)
        return svc_account_command(argc - 1, argv + 1);
    r = svc_conf_parse(argc, argv, &service.conf, &err);
    if (r == 1)
        return EXIT_SUCCESS;
    if (r == 0)
        r = check_settings(&service, &err);
    if (r == 0)
        return start_or_show(&service);
    im_error_print("imaging-service", &err);
    stop(&service);
    return r == -ENOMEM ? EXIT_FAILURE : IM_USAGE;
}
