/* machine - the launch stage: register the image of the volumes, start an instance of it.
 *
 * Both are repeated under the same ids after a crash between any two steps; the row is completed
 * last.  A launch may take longer than a lease, so that a thread beats meanwhile. */

#include <config.h>

#include "dispatch/machine.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "dispatch/message.h"
#include "launch/launch.h"
#include "log.h"
#include "metrics.h"
#include "task/state.h"

/* The machine of a task, with the memory its parts need. */
struct machine {
    struct launch_machine launch;
    struct launch_disk disk[TASK_DISKS_MAX];
    char *path[TASK_DISKS_MAX];
};

static void machine_done(struct machine *machine)
{
    for (size_t i = 0; i < TASK_DISKS_MAX; i++)
        free(machine->path[i]);
}

static int add_disk(const struct svc_conf *conf, const struct stage *stage, struct machine *machine,
                    struct im_error *err)
{
    size_t n = machine->launch.disk_count;

    if (n == TASK_DISKS_MAX)
        return im_fail(err, EFBIG, "more than %d disks", TASK_DISKS_MAX);
    machine->path[n] = files_volume_path(conf, stage->volume_id);
    if (!machine->path[n])
        return im_fail(err, ENOMEM, "out of memory");
    machine->disk[n] = (struct launch_disk){
        .volume_id = stage->volume_id,
        .path = machine->path[n],
        .description = stage->description,
        .digest = stage->digest,
        .gib = stage->volume_gib,
    };
    machine->launch.disk_count++;
    return 0;
}

static int machine_of(const struct svc_conf *conf, const struct task *task, struct machine *machine,
                      struct im_error *err)
{
    int r = 0;

    memset(machine, 0, sizeof(*machine));
    machine->launch = (struct launch_machine){
        .task_id = task->id,
        .account = task->account,
        .image_id = task->image_id,
        .instance_id = task->instance_id,
        .name = task->id,
        .description = task->description,
        .architecture = task->architecture,
        .platform = task->platform,
        .boot_mode = task->boot_mode,
        .zone = task->zone,
        .launch_spec = task->launch_spec,
        .disk = machine->disk,
    };
    for (size_t i = 0; i < task->stage_count && r == 0; i++)
        if (task->stage[i].kind == STAGE_CONVERT)
            r = add_disk(conf, &task->stage[i], machine, err);
    return r;
}

/* ---- beating meanwhile ---- */

struct pulse {
    struct run *run;
    atomic_bool stop; /* the launch is to end early */
    int why;          /* 1 the task is to stop, -ESTALE, -ECANCELED the service stops */
    int end_fd;       /* eventfd: the launch has ended */
    pthread_t thread;
};

/* True when the launch has ended. */
static bool pulse_wait(struct pulse *pulse)
{
    struct pollfd fds[] = {
        { .fd = pulse->end_fd, .events = POLLIN },
        { .fd = pulse->run->worker->wake_fd, .events = POLLIN },
    };
    uint64_t count;

    if (poll(fds, 2, BEAT_MS) > 0 && fds[1].revents)
        (void)!read(fds[1].fd, &count, sizeof(count));
    return fds[0].revents != 0;
}

static void *pulse_loop(void *arg)
{
    struct pulse *pulse = arg;

    while (!pulse_wait(pulse)) {
        if (pulse->why != 0)
            continue; /* it knows */
        if (atomic_load(pulse->run->worker->stop))
            pulse->why = -ECANCELED;
        else
            pulse->why = run_beat(pulse->run, 0, NULL);
        if (pulse->why != 0)
            atomic_store(&pulse->stop, true);
    }
    return NULL;
}

static int pulse_start(struct pulse *pulse, struct run *run, struct im_error *err)
{
    int r;

    *pulse = (struct pulse){ .run = run, .end_fd = eventfd(0, EFD_CLOEXEC) };
    if (pulse->end_fd < 0)
        return im_fail_errno(err, errno, "cannot begin the launch");
    r = pthread_create(&pulse->thread, NULL, pulse_loop, pulse);
    if (r == 0)
        return 0;
    (void)close(pulse->end_fd);
    return im_fail_errno(err, r, "cannot begin the launch");
}

/* Why the launch was to end early; 0 when it was not. */
static int pulse_end(struct pulse *pulse)
{
    (void)eventfd_write(pulse->end_fd, 1);
    (void)pthread_join(pulse->thread, NULL);
    (void)close(pulse->end_fd);
    return pulse->why;
}

/* ---- the stage ---- */

static void withdraw(const struct run *run, bool for_good)
{
    const struct task *task = &run->claim->task;

    if (for_good)
        launch_withdraw(run->worker->conf, task->image_id, task->instance_id);
}

/* Where the table is, is nothing for its owner's eyes. */
static void table_failed(const struct run *run, const struct im_error *err)
{
    svc_log(SVC_ERROR, "%s: %s", run->name, err->message);
    (void)run_try_again(run, IM_FAILED, "", "the task table could not be written");
}

static void complete(const struct run *run, const char *instance_id, const char *state)
{
    const struct task *task = &run->claim->task;
    const struct stage_result result = { .instance_id = instance_id };
    struct im_error err = { 0 };
    int r = task_complete(run->worker->table, run->claim, &result, &err);

    if (r == 0) {
        svc_log(SVC_INFO, "%s: completed, image %s, instance %s, %s", run->name, task->image_id,
                instance_id, state);
        metric_add(METRIC_STAGES_ENDED, "completed", NULL, 1);
    } else if (r != -ESTALE) /* else somebody took over, whose machine it is now */
        table_failed(run, &err);
}

static void failed(const struct run *run, int r, const struct im_error *err)
{
    char message[MESSAGE_SIZE];

    if (r == -EAGAIN) {
        (void)run_try_again(run, IM_TRANSIENT, "", err->message);
        return;
    }
    (void)snprintf(message, sizeof(message), "ServerError: %s", err->message);
    (void)run_end(run, message);
}

/* Register and start; 0, or -errno of the launch. */
static int launch(struct run *run, const struct launch_machine *machine, const atomic_bool *stop,
                  char *ret_instance_id, size_t size, const char **ret_state, struct im_error *err)
{
    const struct svc_conf *conf = run->worker->conf;
    int r = launch_register(conf, machine, err);

    if (r < 0) /* a full or read-only disk heals */
        return r == -EINVAL || r == -EEXIST ? r : -EAGAIN;
    return launch_start(conf, machine, stop, ret_instance_id, size, ret_state, err);
}

static void launch_and_judge(struct run *run, const struct launch_machine *machine)
{
    char instance_id[LAUNCH_ID_SIZE] = "";
    const char *state = "stopped";
    struct im_error err = { 0 };
    struct pulse pulse;
    int r, why;

    why = run_beat(run, 0,
                   machine->zone ? TASK_MESSAGE_LAUNCH " : launching the instance"
                                 : TASK_MESSAGE_LAUNCH " : registering the image");
    r = why == 0 ? pulse_start(&pulse, run, &err) : 0;
    if (r < 0) {
        (void)run_try_again(run, IM_FAILED, "", err.message);
        return;
    }
    if (why == 0) {
        r = launch(run, machine, &pulse.stop, instance_id, sizeof(instance_id), &state, &err);
        why = pulse_end(&pulse);
    }
    if (why == -ESTALE)
        return; /* somebody else's now */
    if (why == 1)
        (void)run_end(run, NULL);
    else if (why == -ECANCELED && r < 0)
        (void)run_give_back(run, TASK_RELEASED, 0, NULL);
    else if (r < 0)
        failed(run, r, &err);
    else
        complete(run, instance_id, state);
}

void machine_do(const struct worker *worker, const struct claim *claim)
{
    struct machine machine IM_CLEANUP(machine_done) = { 0 };
    struct im_error err = { 0 };
    struct run run;
    int r;

    run_init(&run, worker, claim, withdraw);
    r = machine_of(worker->conf, &claim->task, &machine, &err);
    if (r < 0)
        (void)run_try_again(&run, IM_FAILED, "", err.message);
    else
        launch_and_judge(&run, &machine.launch);
}

void machine_give_up(const struct worker *worker, const struct claim *claim, const char *message)
{
    struct run run;

    run_init(&run, worker, claim, withdraw);
    (void)run_end(&run, message);
}
