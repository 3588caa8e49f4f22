/* An ALSA plug-in for tests: a device that only one program can have at a time, as a sound card without a mixer. Whoever opens it locks a file;
 * another one gets EBUSY until that is closed. What is played is thrown away at the pace of the clock. */
#include <alsa/asoundlib.h>
#include <alsa/pcm_external.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct device {
    snd_pcm_ioplug_t plug;
    int lock;
    int timer;
    int running;
    struct timespec started;
};

static int start(snd_pcm_ioplug_t *plug) {
    struct device *device = plug->private_data;
    device->running = 1;
    clock_gettime(CLOCK_MONOTONIC, &device->started);
    return 0;
}

static int stop(snd_pcm_ioplug_t *plug) {
    struct device *device = plug->private_data;
    device->running = 0;
    return 0;
}

static snd_pcm_sframes_t pointer(snd_pcm_ioplug_t *plug) {
    struct device *device = plug->private_data;
    struct timespec now;
    if (!device->running) return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t us = (now.tv_sec - device->started.tv_sec) * 1000000LL + (now.tv_nsec - device->started.tv_nsec) / 1000;
    snd_pcm_uframes_t played = us * plug->rate / 1000000;
    if (played > plug->appl_ptr) played = plug->appl_ptr; /* it waits for more */
    return played % plug->buffer_size;
}

static snd_pcm_sframes_t transfer(snd_pcm_ioplug_t *plug, const snd_pcm_channel_area_t *areas, snd_pcm_uframes_t offset,
                                  snd_pcm_uframes_t size) {
    (void)plug, (void)areas, (void)offset;
    return size;
}

static int finish(snd_pcm_ioplug_t *plug) {
    struct device *device = plug->private_data;
    close(device->lock);
    close(device->timer);
    free(device);
    return 0;
}

/* Who waits is woken every 10 ms. */
static int ready(snd_pcm_ioplug_t *plug, struct pollfd *fds, unsigned int count, unsigned short *events) {
    struct device *device = plug->private_data;
    uint64_t ticks;
    (void)count;
    *events = fds[0].revents & POLLIN && read(device->timer, &ticks, sizeof ticks) > 0 ? POLLOUT : 0;
    return 0;
}

static const snd_pcm_ioplug_callback_t callbacks = {
    .start = start, .stop = stop, .pointer = pointer, .transfer = transfer, .close = finish, .poll_revents = ready};

SND_PCM_PLUGIN_DEFINE_FUNC(exclusive) {
    (void)root;
    const char *path = NULL;
    snd_config_iterator_t at, next;
    snd_config_for_each(at, next, conf) {
        snd_config_t *entry = snd_config_iterator_entry(at);
        const char *id;
        if (snd_config_get_id(entry, &id) >= 0 && strcmp(id, "lock") == 0) snd_config_get_string(entry, &path);
    }
    if (!path) return -EINVAL;
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0) return -errno;
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        close(lock);
        return -EBUSY;
    }
    struct device *device = calloc(1, sizeof *device);
    if (!device) return -ENOMEM;
    device->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct itimerspec every = {{0, 10000000}, {0, 10000000}};
    if (device->timer < 0 || timerfd_settime(device->timer, 0, &every, NULL) < 0) return -errno;
    device->lock = lock;
    device->plug.version = SND_PCM_IOPLUG_VERSION;
    device->plug.name = "a device for one";
    device->plug.callback = &callbacks;
    device->plug.private_data = device;
    device->plug.poll_fd = device->timer;
    device->plug.poll_events = POLLIN;
    int error = snd_pcm_ioplug_create(&device->plug, name, stream, mode);
    if (error < 0) return error;
    static const unsigned int access[] = {SND_PCM_ACCESS_RW_INTERLEAVED}, format[] = {SND_PCM_FORMAT_S16_LE};
    snd_pcm_ioplug_set_param_list(&device->plug, SND_PCM_IOPLUG_HW_ACCESS, 1, access);
    snd_pcm_ioplug_set_param_list(&device->plug, SND_PCM_IOPLUG_HW_FORMAT, 1, format);
    snd_pcm_ioplug_set_param_minmax(&device->plug, SND_PCM_IOPLUG_HW_CHANNELS, 1, 2);
    snd_pcm_ioplug_set_param_minmax(&device->plug, SND_PCM_IOPLUG_HW_RATE, 8000, 48000);
    snd_pcm_ioplug_set_param_minmax(&device->plug, SND_PCM_IOPLUG_HW_PERIOD_BYTES, 64, 65536);
    snd_pcm_ioplug_set_param_minmax(&device->plug, SND_PCM_IOPLUG_HW_PERIODS, 2, 1024);
    *pcmp = device->plug.pcm;
    return 0;
}

SND_PCM_PLUGIN_SYMBOL(exclusive);
