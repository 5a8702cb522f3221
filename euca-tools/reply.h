/* reply - what services answer, read from XML: conversion tasks, "return", errors.
 *
 * Namespaces are ignored, and so is everything unknown. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Bytes of an answer that is still read: 10 000 tasks with long manifest URLs are about 20 MiB. */
#define EUCA_REPLY_MAX ((size_t)32 * 1024 * 1024)

/* Texts are as the server sent them; NULL when the element is missing or empty. */
struct euca_task_disk {
    char *format;
    char *checksum;
    char *size; /* Image.Bytes */
    char *manifest_url;
    char *volume_id;
    char *volume_size; /* GiB */
    char *zone;
    char *bytes_converted;
    char *description; /* of a volume task: the task's */
    char *status;      /* this and the next only in instance tasks */
    char *status_message;
};

struct euca_tag {
    char *key;
    char *value;
};

struct euca_task {
    char *id;
    char *expiration_time;
    char *state;
    char *status_message;
    char *instance_id;            /* instance tasks, at the end */
    char *platform, *description; /* instance tasks */
    bool instance;                /* importInstance, not importVolume */
    size_t disk_count;            /* 0 when the task holds neither of them */
    struct euca_task_disk *disk;
    size_t tag_count;
    struct euca_tag *tag;
};

struct euca_tasks {
    size_t count;
    struct euca_task *task;
};

/* Read the answer of ImportVolume, ImportInstance (one task) or DescribeConversionTasks (any
 * number).  Errors: -EBADMSG with what is wrong, -ENOMEM. */
int euca_reply_tasks(const char *xml, size_t len, struct euca_tasks *ret_tasks,
                     struct im_error *err);

/* What kind of task it is, in the word of the TaskType line. */
const char *euca_task_type(const struct euca_task *task);

void euca_tasks_done(struct euca_tasks *tasks);
#define EUCA_TASKS_DONE __attribute__((cleanup(euca_tasks_done)))

/* Read <return> of an answer that holds nothing else; -EBADMSG when it is not there. */
int euca_reply_return(const char *xml, size_t len, bool *ret_value, struct im_error *err);

/* An error document of EC2 (Response/Errors/Error, ErrorResponse/Error) or S3 (Error). */
struct euca_fault {
    char code[64]; /* cut to fit; "" when the document names none */
    /* Likewise; with the code, and with what we add to some, it fits into a sentence. */
    char message[IM_ERROR_MAX - 512];
};

/* Read what can be read; text that is no error document gives an empty fault. */
void euca_reply_fault(const char *xml, size_t len, struct euca_fault *ret_fault);
