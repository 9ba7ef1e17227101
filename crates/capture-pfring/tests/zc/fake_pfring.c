/* A libpfring for tests: the functions of userland/lib/pfring_zc.h that the backend calls, and misbehaviour by the device's name.
 * The public header was read for names and types only. It keeps books of what it is asked and aborts where its caller breaks a rule. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct packet { uint16_t len, flags; uint32_t hash, seconds, nanos; };
struct stats { uint64_t recv, sent, drop; };
struct buffer { struct packet packet; uint8_t data[]; };
struct cluster { uint32_t buffer_len, left; int open; struct buffer *all[1024]; int count; };
struct queue { struct cluster *cluster; char mode[32]; uint64_t given, wanted; int bursts; };

static int demo;

/* NULL: no such place. */
#define RULE(truth) do { if (!(truth)) abort(); } while (0)

void *pfring_zc_create_cluster(uint32_t id, uint32_t buffer_len, uint32_t metadata_len, uint32_t buffers, int32_t numa,
                               const char *mount, uint32_t flags) {
  (void)numa;
  RULE(metadata_len == 0 && mount == NULL && flags == 0 && buffer_len >= 1518 && buffer_len <= 4096 && buffers > 32768);
  if (id == 666) { errno = ENOMEM; return NULL; }
  struct cluster *cluster = calloc(1, sizeof *cluster);
  cluster->buffer_len = buffer_len;
  cluster->left = 1024;
  return cluster;
}

void pfring_zc_destroy_cluster(void *c) {
  struct cluster *cluster = c;
  RULE(cluster->open == 0);
  for (int i = 0; i < cluster->count; i++) free(cluster->all[i]);
  free(cluster);
}

void *pfring_zc_open_device(void *c, const char *name, int mode, uint32_t flags) {
  struct cluster *cluster = c;
  RULE(mode == 0 && (flags & ~(1u << 9)) == 1u << 2 && strncmp(name, "zc:", 3) == 0);
  if (strncmp(name, "zc:absent@", 10) == 0) { errno = ENODEV; return NULL; }
  if (strncmp(name, "zc:promisc@", 11) == 0) RULE(!(flags & 1u << 9));
  if (strncmp(name, "zc:local@", 9) == 0) RULE(flags & 1u << 9);
  struct queue *queue = calloc(1, sizeof *queue);
  queue->cluster = cluster;
  strncpy(queue->mode, name + 3, sizeof queue->mode - 1);
  queue->mode[strcspn(queue->mode, "@")] = 0;
  queue->wanted = 600;
  if (strcmp(queue->mode, "handles") == 0) cluster->left = 10;
  if (strcmp(queue->mode, "endless") == 0) queue->wanted = UINT64_MAX;
  demo = strcmp(queue->mode, "demo") == 0;
  cluster->open = 1;
  return queue;
}

void pfring_zc_close_device(void *q) {
  struct queue *queue = q;
  queue->cluster->open = 0;
  free(queue);
}

void *pfring_zc_get_packet_handle(void *c) {
  struct cluster *cluster = c;
  if (cluster->left == 0) return NULL;
  cluster->left--;
  struct buffer *buffer = calloc(1, sizeof *buffer + cluster->buffer_len);
  cluster->all[cluster->count++] = buffer;
  return buffer;
}

int pfring_zc_recv_pkt_burst(void *q, struct packet **handles, uint32_t most, uint8_t wait) {
  struct queue *queue = q;
  RULE(wait == 0 && most > 0);
  for (uint32_t i = 0; i < most; i++) RULE(handles[i] != NULL);
  queue->bursts++;
  if (strcmp(queue->mode, "failing") == 0) return -1;
  if (strcmp(queue->mode, "boasting") == 0) return (int)most + 1;
  uint32_t i = 0;
  for (; i < most && queue->given < queue->wanted; i++) {
    struct packet *packet = handles[i];
    uint8_t *data = ((struct buffer *)packet)->data;
    uint64_t number = queue->given++;
    packet->len = 60 + number % 200;
    packet->seconds = 1700000000;
    packet->nanos = (uint32_t)number;
    memset(data, (int)(number & 0xff), packet->len);
    if (strcmp(queue->mode, "lying") == 0 && number % 3 == 1) packet->len = 65535;
    if (strcmp(queue->mode, "nulls") == 0 && number % 4 == 2) handles[i] = NULL;
    if (strcmp(queue->mode, "crooked") == 0 && number % 4 == 2) handles[i] = (struct packet *)((char *)packet + 1);
    if (strcmp(queue->mode, "timeless") == 0) packet->seconds = packet->nanos = 0;
  }
  return (int)i;
}

int pfring_zc_queue_is_empty(void *q) {
  struct queue *queue = q;
  return queue->given >= queue->wanted;
}

uint8_t *pfring_zc_pkt_buff_data(struct packet *packet, void *q) {
  struct queue *queue = q;
  RULE(packet != NULL);
  if (strcmp(queue->mode, "dataless") == 0 && packet->nanos % 5 == 0) return NULL;
  return ((struct buffer *)packet)->data;
}

int pfring_zc_stats(void *q, struct stats *stats) {
  struct queue *queue = q;
  if (strcmp(queue->mode, "mute") == 0) return -1;
  stats->recv = queue->given;
  stats->sent = 1u << 20;
  stats->drop = 7;
  return 0;
}

int pfring_zc_check_license(void) { return !demo; }

char *pfring_zc_version(void) { return "8.9.0-fake"; }
