/* The load generator of the benchmark: one thread, epoll, latencies in a histogram.
 *
 *   load closed PORT REQUEST CONNECTIONS WARMUP_S SECONDS COUNT
 *       each connection asks again as soon as its answer is complete, for SECONDS after the
 *       warm-up; with COUNT > 0 until so many answers have come
 *   load paced PORT REQUEST CONNECTIONS RAMP_S SECONDS
 *       each connection asks for one stream of the upstream's /paced/; the delay of each event from
 *       the upstream's send to our receive is recorded once all have begun, for SECONDS at most
 *
 * REQUEST is a file with the bytes to send. An answer counts when its status is 200, it has a proper
 * end, and, if it is an event stream, `[DONE]` came last. Prints one JSON object.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 512, BUFFER = 262144, TAIL = 32, HEAD_MAX = 16384, SUB = 128, STAMP = 19 };
enum framing { UNKNOWN, LENGTH, CHUNKED, UNTIL_CLOSE };

struct conn {
    int fd, open, counted;       /* a paced connection is counted once, as complete or as an error */
    int64_t asked;
    enum framing framing;        /* UNKNOWN while the head is incomplete */
    int ok, events;              /* status 200; an event stream */
    size_t left;                 /* of a body with a length */
    size_t head_len;
    char head[HEAD_MAX];
    size_t tail_len;
    char tail[TAIL];             /* the last bytes received */
    int digits;                  /* of a time stamp: -1 while none is being read */
    int64_t stamp;
};

static char *request;
static size_t request_len;
static struct sockaddr_in target;
static int epoll_fd, paced;
static int64_t from, until;      /* what completes in between is recorded */
static char buffer[BUFFER];
static uint64_t histogram[64 * SUB];
static int64_t recorded, total, errors, done, largest, sum, bytes_in;

static void die(const char *what) { perror(what); exit(1); }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Buckets 1/128 of a power of two wide. */
static void record(int64_t ns) {
    if (ns < 0) ns = 0;
    int shift = 0;
    while (ns >> shift >= 2 * SUB) shift++;
    histogram[shift * SUB + (ns >> shift)]++;
    recorded++;
    sum += ns;
    if (ns > largest) largest = ns;
}

static double percentile_us(double p) {
    double want = p * (double)recorded, seen = 0;
    for (int shift = 0; shift < 56; shift++)
        for (int64_t i = shift ? SUB : 0; i < 2 * SUB; i++) {
            seen += (double)histogram[shift * SUB + i];
            if (seen >= want && seen > 0) return (double)((i << shift) + ((1LL << shift) >> 1)) / 1000.0;
        }
    return (double)largest / 1000.0;
}

static void dial(struct conn *conn) {
    int one = 1;
    conn->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&target, sizeof target) < 0) die("connect");
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(conn->fd, F_SETFL, O_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conn->fd, &event) < 0) die("epoll_ctl");
    conn->open = 1;
}

static void ask(struct conn *conn) {
    if (!conn->open) dial(conn);
    conn->framing = UNKNOWN;
    conn->head_len = conn->tail_len = 0;
    conn->digits = -1;
    conn->asked = now_ns();
    /* An empty socket buffer takes the whole of a small request. */
    if (send(conn->fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len && errno != EPIPE
        && errno != ECONNRESET) die("send");
}

static void hang_up(struct conn *conn) {
    close(conn->fd);
    conn->open = 0;
}

/* An answer has ended, well or not. */
static void finish(struct conn *conn, int good, int64_t now) {
    if (good && conn->events) {
        static const char mark[] = "data: [DONE]";
        good = memmem(conn->tail, conn->tail_len, mark, sizeof mark - 1) != NULL;
    }
    total++;
    if (!good || !conn->ok) errors++;
    else if (now >= from && now < until) {
        done++;
        if (!paced) record(now - conn->asked);
    }
    if (paced) {
        conn->counted = 1;
        hang_up(conn);
    } else if (now < until) {
        ask(conn);
    }
}

static void head_complete(struct conn *conn, size_t len) {
    char *head = conn->head;
    conn->ok = len > 12 && !memcmp(head + 8, " 200", 4);
    conn->events = 0;
    conn->framing = UNTIL_CLOSE;
    for (char *line = memmem(head, len, "\r\n", 2); line && line < head + len - 4;
         line = memmem(line + 2, (size_t)(head + len - line - 2), "\r\n", 2)) {
        if (!strncasecmp(line + 2, "content-length:", 15)) {
            conn->framing = LENGTH;
            conn->left = strtoul(line + 17, NULL, 10);
        } else if (!strncasecmp(line + 2, "transfer-encoding: chunked", 26)) {
            conn->framing = CHUNKED;
        } else if (!strncasecmp(line + 2, "content-type: text/event-stream", 31)) {
            conn->events = 1;
        }
    }
}

static void stamps(struct conn *conn, const char *data, size_t len, int64_t now) {
    const char *end = data + len;
    while (data < end) {
        if (conn->digits < 0) {
            data = memchr(data, '@', (size_t)(end - data));
            if (!data) return;
            data++;
            conn->digits = 0;
            conn->stamp = 0;
            continue;
        }
        if (*data < '0' || *data > '9') {
            conn->digits = -1;
            continue;
        }
        conn->stamp = conn->stamp * 10 + (*data++ - '0');
        if (++conn->digits == STAMP) {
            if (now >= from && now < until) record(now - conn->stamp);
            conn->digits = -1;
        }
    }
}

static void received(struct conn *conn, const char *data, size_t len, int64_t now) {
    if (conn->framing == UNKNOWN) {
        size_t before = conn->head_len, part = len < HEAD_MAX - before ? len : HEAD_MAX - before;
        memcpy(conn->head + before, data, part);
        conn->head_len += part;
        char *end = memmem(conn->head, conn->head_len, "\r\n\r\n", 4);
        if (!end) {
            if (conn->head_len == HEAD_MAX) die("head too long");
            return;
        }
        size_t head = (size_t)(end + 4 - conn->head);
        head_complete(conn, head);
        data += head - before;
        len -= head - before;
    }
    if (conn->framing == LENGTH) {
        conn->left -= len < conn->left ? len : conn->left;
        if (!conn->left) finish(conn, 1, now);
        return;
    }
    if (paced) stamps(conn, data, len, now);
    if (len >= TAIL) {
        memcpy(conn->tail, data + len - TAIL, TAIL);
        conn->tail_len = TAIL;
    } else {
        size_t keep = conn->tail_len + len > TAIL ? TAIL - len : conn->tail_len;
        memmove(conn->tail, conn->tail + conn->tail_len - keep, keep);
        memcpy(conn->tail + keep, data, len);
        conn->tail_len = keep + len;
    }
    if (conn->framing == CHUNKED && conn->tail_len >= 7
        && !memcmp(conn->tail + conn->tail_len - 7, "\r\n0\r\n\r\n", 7))
        finish(conn, 1, now);
}

static void readable(struct conn *conn) {
    ssize_t n = recv(conn->fd, buffer, BUFFER, 0);
    int64_t now = now_ns();
    if (n > 0) {
        bytes_in += n;
        received(conn, buffer, (size_t)n, now);
        return;
    }
    if (n < 0 && errno == EAGAIN) return;
    hang_up(conn);
    if (!paced || !conn->counted) finish(conn, n == 0 && conn->framing == UNTIL_CLOSE, now);
}

static void report(int64_t began, int64_t ended) {
    printf("{\"seconds\":%.6f,\"requests\":%lld,\"total\":%lld,\"errors\":%lld,\"bytes\":%lld,"
        "\"samples\":%lld,\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f,"
        "\"p999_us\":%.3f,\"max_us\":%.3f}\n",
        (double)(ended - began) / 1e9, (long long)done, (long long)total, (long long)errors,
        (long long)bytes_in, (long long)recorded,
        recorded ? (double)sum / (double)recorded / 1000.0 : 0.0, percentile_us(0.5), percentile_us(0.9),
        percentile_us(0.99), percentile_us(0.999), (double)largest / 1000.0);
}

int main(int argc, char **argv) {
    if (argc < 7) {
        fputs("usage: see the head of load.c\n", stderr);
        return 2;
    }
    paced = !strcmp(argv[1], "paced");
    target.sin_family = AF_INET;
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    FILE *file = fopen(argv[3], "rb");
    if (!file) die(argv[3]);
    request = malloc(BUFFER);
    request_len = fread(request, 1, BUFFER, file);
    fclose(file);
    int wanted = atoi(argv[4]), opened = 0;
    double ramp_s = atof(argv[5]), seconds = atof(argv[6]);
    int64_t count = argc > 7 ? atoll(argv[7]) : 0;
    struct conn *conns = calloc((size_t)wanted, sizeof *conns);
    struct epoll_event found[BATCH];
    epoll_fd = epoll_create1(0);
    int64_t start = now_ns(), now = start;
    from = start + (int64_t)(ramp_s * 1e9);
    until = from + (int64_t)(seconds * 1e9);
    if (count) until = INT64_MAX;
    if (paced) from += 500000000; /* the last to begin has got past its first events */
    while (opened < wanted || now < until) {
        while (opened < wanted
               && (!paced || now - start >= (int64_t)(ramp_s * 1e9 / wanted * opened))) ask(&conns[opened++]);
        int timeout = paced && opened < wanted ? 1 : 100;
        int n = epoll_wait(epoll_fd, found, BATCH, timeout);
        for (int i = 0; i < n; i++) {
            struct conn *conn = found[i].data.ptr;
            if (conn->open) readable(conn);
        }
        now = now_ns();
        if (count && done >= count) break;
        if (paced && total == wanted) break;
    }
    report(from, now < until ? now : until);
    return 0;
}
