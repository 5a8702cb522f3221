/* imaging-service - start, wait, stop.
 *
 * Everything is put together here and nothing is decided here. */

#include <config.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "announce.h"
#include "api/api.h"
#include "auth/accounts.h"
#include "base/cleanup.h"
#include "base/confine.h"
#include "base/io.h"
#include "base/no-core.h"
#include "base/text.h"
#include "cmd/account.h"
#include "cmd/gc.h"
#include "cmd/task.h"
#include "conf/conf.h"
#include "directories.h"
#include "dispatch/dispatch.h"
#include "http/httpd.h"
#include "http/query-handler.h"
#include "http/tls.h"
#include "log.h"
#include "objects/objects.h"
#include "objects/target.h"
#include "status/status.h"
#include "task/task.h"
#include "xml.h"

/* Connections to a database beside one for each worker and each thread that answers requests. */
#define TABLE_CONNECTIONS 3

/* A service that lives renews its leases every two seconds. */
#define WATCH_MS 6000

/* Handlers may block on the disk; four of them use a small machine well. */
#define API_THREADS 4

/* What runs, in the order in which it is started; stopped the other way round. */
struct service {
    struct svc_conf conf;
    int lock; /* descriptor of DIR/lock, held while the process lives */
    struct svc_accounts *accounts;
    struct svc_throttle *throttle;
    struct task_zone_limit *zone_limits;
    struct task_table *tasks;
    struct dispatch *dispatch;
    struct svc_store *store;
    struct svc_api api;
    struct svc_query_service query_service;
    struct svc_object_service object_service;
    struct svc_route routes[2];
    struct svc_httpd *httpd;
    struct status *status; /* NULL: it has no address */
    char *objects_url;
};

/* The accounts, and of a service alone the objects. */
static int open_stores(struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    int r;

    if (conf->database)
        return svc_accounts_open_shared(conf->database, conf->master_key, &service->accounts, err);
    r = svc_accounts_open(conf->dir, conf->master_key, &service->accounts, err);
    if (r == 0)
        r = svc_store_open(conf->objects_dir, svc_accounts_first(service->accounts),
                           &service->store, err);
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

static const char *trouble_of(void *worker, unsigned n, char *buf, size_t size)
{
    return dispatch_trouble_of(worker, n, buf, size);
}

/* Bind the port, so that it is known before anybody is served. */
static int open_door(struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    const struct svc_httpd_options options = {
        .address = conf->listen.address,
        .port = conf->listen.port,
        .certificate = conf->tls_certificate,
        .key = conf->tls_key,
        .connections = conf->connections,
        .connections_per_address = conf->connections_per_address,
        .other_connections = 0, /* those of the status are among the spare descriptors */
        .threads = API_THREADS,
        .idle_s = conf->idle_seconds,
        .request_s = conf->request_seconds,
    };

    return svc_httpd_open(&options, &service->httpd, err);
}

/* The URL clients reach the service by; "any address" is none. */
static char *endpoint(const struct service *service)
{
    const struct svc_conf *conf = &service->conf;
    const char *host = conf->public_host ? conf->public_host : conf->listen.address;
    const char *format = host[0] != '[' && strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u";

    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    if (strcmp(host, "::") == 0)
        host = "::1";
    return im_asprintf(format, conf->tls_certificate ? "https" : "http", host,
                       svc_httpd_port(service->httpd));
}

/* Where our own object store is, if we have one: the workers may go there whatever the policy. */
static int name_objects(struct service *service, struct im_error *err)
{
    char *where IM_FREE = NULL;

    if (!service->store)
        return 0;
    where = endpoint(service);
    if (where)
        service->objects_url = im_asprintf("%s" SVC_OBJECTS_PATH "/", where);
    return service->objects_url ? 0 : im_fail(err, ENOMEM, "out of memory");
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

/* The limits of the zones as the table takes them; NULL when out of memory. */
static struct task_zone_limit *zone_limits(const struct svc_conf *conf)
{
    struct task_zone_limit *limits = calloc(conf->zone_limit_count + 1, sizeof(*limits));

    for (size_t i = 0; limits && i < conf->zone_limit_count; i++)
        limits[i] =
            (struct task_zone_limit){ conf->zone_limits[i].zone, conf->zone_limits[i].conversions };
    return limits;
}

static int open_tasks(struct service *service, struct im_error *err)
{
    const struct svc_conf *conf = &service->conf;
    struct task_options options = {
        .where = conf->database ? conf->database : conf->tasks_path,
        .worker = conf->instance_name,
        .alone = !conf->database,
        .watch_ms = conf->database ? WATCH_MS : 0,
        /* each worker and each thread that answers requests, and those who look after things */
        .connections = conf->workers + API_THREADS + TABLE_CONNECTIONS,
        .limits = { .total = conf->conversions, .per_account = conf->conversions_per_account },
        .delete_uploads = svc_conf_is(conf->delete_uploads),
    };

    service->zone_limits = zone_limits(conf);
    if (!service->zone_limits)
        return im_fail(err, ENOMEM, "out of memory");
    options.limits.zone = service->zone_limits;
    options.limits.zone_count = conf->zone_limit_count;
    return task_table_open(&options, &service->tasks, err);
}

static int check_tables(void *tasks, struct im_error *err)
{
    return task_table_check(tasks, err);
}

static int count_tasks(void *tasks, struct task_counts *ret_counts, struct im_error *err)
{
    return task_count(tasks, ret_counts, err);
}

static int start_status(struct service *service, struct im_error *err)
{
    const struct status_options options = {
        .conf = &service->conf,
        .api = service->httpd,
        .trouble = trouble_of,
        .troubles = DISPATCH_TROUBLES,
        .worker = service->dispatch,
        .check_tables = check_tables,
        .task_counts = count_tasks,
        .tables = service->tasks,
    };

    return service->conf.status.address ? status_start(&options, &service->status, err) : 0;
}

/* The toolkit confines itself before it reads an image, where it can: what holds for this process
 * holds for those it starts. */
static int check_confinement(const struct svc_conf *conf, struct im_error *err)
{
    struct im_error why = { 0 };
    int r = im_confine_check(NULL, &why);

    if (r == -ENOTSUP && svc_conf_is(conf->unconfined)) {
        svc_log(SVC_WARNING, "images are read unconfined, as the settings allow: %s", why.message);
        return 0;
    }
    if (r == -ENOTSUP)
        return im_fail(
            err, ENOTSUP,
            "imaging-toolkit cannot be confined here: %s.  Whoever takes it over with an "
            "image of theirs could do what this user can; 'unconfined = true' in the "
            "configuration runs it all the same",
            why.message);
    if (r < 0 && err)
        *err = why;
    return r;
}

static int start(struct service *service, struct im_error *err)
{
    int r = check_confinement(&service->conf, err);

    if (r == 0)
        r = svc_directories_take(&service->conf, &service->lock, err);
    if (r == 0)
        r = open_stores(service, err);

    if (r == 0)
        r = open_door(service, err);
    if (r == 0)
        r = svc_conf_name(&service->conf, svc_httpd_port(service->httpd), err);
    if (r == 0)
        r = open_tasks(service, err);
    if (r == 0)
        r = name_objects(service, err);
    if (r == 0)
        r = dispatch_start(&service->conf, service->tasks, service->objects_url, &service->dispatch,
                           err);
    if (r == 0)
        r = serve(service, err);
    if (r == 0)
        r = start_status(service, err);
    return r;
}

static void stop(struct service *service)
{
    service->status = status_stop(service->status);  /* it looks at all the rest */
    service->httpd = svc_httpd_stop(service->httpd); /* operations call the dispatcher */
    service->dispatch = dispatch_stop(service->dispatch);
    service->throttle = svc_throttle_free(service->throttle);
    service->store = svc_store_close(service->store);
    service->tasks = task_table_close(service->tasks);
    free(service->zone_limits);
    service->accounts = svc_accounts_close(service->accounts);
    if (service->lock >= 0)
        (void)close(service->lock);
    free(service->objects_url);
    svc_conf_done(&service->conf);
}

static int announce(const struct service *service, struct im_error *err)
{
    char *where IM_FREE = endpoint(service);
    char sentence[IM_ERROR_MAX];
    const struct svc_announcement what = {
        .conf = &service->conf,
        .accounts = service->store ? service->accounts : NULL,
        .endpoint = where,
        .status_port = service->status ? status_port(service->status) : 0,
        /* the dispatcher has logged it */
        .trouble = dispatch_trouble(service->dispatch, sentence, sizeof(sentence)),
    };

    return where ? svc_announce(&what, err) : im_fail(err, ENOMEM, "out of memory");
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
    unsigned seconds = service->conf.stop_seconds, delay = service->conf.stop_delay_seconds;
    int number = 0;
    size_t left;

    while (sigwait(signals, &number) != 0 || number == SIGHUP)
        if (number == SIGHUP)
            reload(service);
    status_stopping(service->status);
    dispatch_halt(service->dispatch); /* others can go on with what it gives back */
    svc_log(SVC_INFO, "signal %d: stopping%s; requests under way have %u seconds", number,
            delay > 0 ? " as soon as it is known" : "", seconds);
    /* a second signal ends the process at once; what is not finished is recovered next time */
    (void)signal(SIGHUP, SIG_IGN);
    (void)pthread_sigmask(SIG_UNBLOCK, signals, NULL);
    /* who sends requests here is to see /ready change before connections are closed: one that is
     * closed while a request is on its way to it loses that */
    while (delay > 0)
        delay = sleep(delay);
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

/* What works on a service's data instead of being one. */
static const struct command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0] is the name; returns the exit status */
} commands[] = {
    { "account", svc_account_command },
    { "gc", svc_gc_command },
    { "task", svc_task_command },
};

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

int main(int argc, char **argv)
{
    struct service service = { .lock = -1 };
    const struct command *command;
    struct im_error err = { 0 };
    int r;

    im_fill_standard();
    im_no_core();
    (void)umask(077);
    command = argc > 1 ? find_command(argv[1]) : NULL;
    if (command)
        return command->run(argc - 1, argv + 1);
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
