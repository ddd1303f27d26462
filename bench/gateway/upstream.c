/* The upstream of the benchmark: canned answers, as fast as one thread can.
 *
 * The path's first part says how the answer comes:
 *   /unary/   one JSON body of about 1 KB
 *   /stream/  the SSE stream, all of it in one send: what a gateway does per event, at its fastest
 *   /events/  the same stream, one send per event, all open streams in turn
 *   /paced/   `tokens` events at `rate` a second, each with the time at which it was sent
 * Every SSE event is an HTTP chunk of its own. Requests are read (a length or chunks) and not looked at.
 *
 * Usage: upstream [TOKENS RATE]; listens on a port of 127.0.0.1 that it prints, and ends with its stdin.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { CHUNKS = 50, EVENTS = CHUNKS + 3, REQUEST_MAX = 65536, BATCH = 512 };
enum mode { NONE, UNARY, STREAM, EVENT_BY_EVENT, PACED };

struct conn {
    int fd;
    enum mode mode;
    int sent;                    /* events of this stream that were sent */
    int64_t due;                 /* when a paced stream's next event is */
    struct conn *next;           /* in a queue, or of those to be freed */
    int queued, closed;
    const char *rest;            /* what the socket did not take */
    size_t rest_len;
    char spill[512];
    size_t have;
    char request[REQUEST_MAX];
};

struct queue { struct conn *head, *tail; };

static int epoll_fd, timer_fd;
static int tokens = 200;
static int64_t interval = 1000000000 / 20;
static char unary[4096], stream[32768], stream_head[512];
static char ending[1024];        /* what follows the last token: finish, usage and [DONE] */
static size_t unary_len, stream_len, stream_head_len, ending_len;
static char *events[EVENTS];
static size_t events_len[EVENTS];
static struct queue ready, paced;
static struct conn *dead;

static void die(const char *what) { perror(what); exit(1); }

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void push(struct queue *queue, struct conn *conn) {
    conn->next = NULL;
    conn->queued = 1;
    if (queue->tail) queue->tail->next = conn; else queue->head = conn;
    queue->tail = conn;
}

static struct conn *pop(struct queue *queue) {
    struct conn *conn = queue->head;
    queue->head = conn->next;
    if (!queue->head) queue->tail = NULL;
    conn->queued = 0;
    return conn;
}

/* --- the canned answers --- */

static size_t chunked(char *out, size_t size, const char *delta, const char *finish, const char *tail) {
    char data[512];
    int n = snprintf(data, sizeof data,
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,"
        "\"model\":\"bench\",\"choices\":[%s%s%s%s%s]%s}\n\n",
        delta ? "{\"index\":0,\"delta\":" : "", delta ? delta : "",
        delta ? ",\"finish_reason\":" : "", delta ? finish : "", delta ? "}" : "", tail);
    return (size_t)snprintf(out, size, "%x\r\n%s\r\n", (unsigned)n, data);
}

static void prepare(void) {
    char body[2048], text[701], piece[1024];
    memset(text, 'x', 700);
    text[700] = 0;
    int n = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"%s\"},"
        "\"finish_reason\":\"stop\"}],"
        "\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":150,\"total_tokens\":170}}", text);
    unary_len = (size_t)snprintf(unary, sizeof unary,
        "HTTP/1.1 200 OK\r\nserver: upstream\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
        n, body);
    stream_head_len = (size_t)snprintf(stream_head, sizeof stream_head,
        "HTTP/1.1 200 OK\r\nserver: upstream\r\ncontent-type: text/event-stream\r\n"
        "cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n");
    for (int i = 0; i < EVENTS; i++) {
        if (i == 0)
            chunked(piece, sizeof piece, "{\"role\":\"assistant\",\"content\":\"token \"}", "null", "");
        else if (i < CHUNKS)
            chunked(piece, sizeof piece, "{\"content\":\"token \"}", "null", "");
        else if (i == CHUNKS)
            chunked(piece, sizeof piece, "{}", "\"stop\"", "");
        else if (i == CHUNKS + 1)
            chunked(piece, sizeof piece, NULL, NULL,
                ",\"usage\":{\"prompt_tokens\":20,\"completion_tokens\":50,\"total_tokens\":70}");
        else
            strcpy(piece, "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n");
        events[i] = strdup(piece);
        events_len[i] = strlen(piece);
    }
    memcpy(stream, stream_head, stream_head_len);
    stream_len = stream_head_len;
    for (int i = 0; i < EVENTS; i++) {
        memcpy(stream + stream_len, events[i], events_len[i]);
        stream_len += events_len[i];
        if (i >= CHUNKS) {
            memcpy(ending + ending_len, events[i], events_len[i]);
            ending_len += events_len[i];
        }
    }
}

/* --- sending --- */

static void watch(struct conn *conn, uint32_t what, int operation) {
    struct epoll_event event = {.events = what, .data.ptr = conn};
    if (epoll_ctl(epoll_fd, operation, conn->fd, &event) < 0) die("epoll_ctl");
}

static void drop(struct conn *conn) {
    if (conn->closed) return;
    close(conn->fd);
    conn->closed = 1;
    if (!conn->queued) { conn->next = dead; dead = conn; } /* else its queue frees it */
}

static void transmit(struct conn *conn, const char *data, size_t len) {
    ssize_t n = send(conn->fd, data, len, MSG_NOSIGNAL);
    if (n == (ssize_t)len) return;
    if (n < 0) {
        if (errno != EAGAIN) { drop(conn); return; }
        n = 0;
    }
    conn->rest = data + n;
    conn->rest_len = len - (size_t)n;
    if (conn->mode == PACED && data != conn->spill) { /* not canned: the caller's buffer goes away */
        if (conn->rest_len > sizeof conn->spill) { drop(conn); return; }
        memcpy(conn->spill, conn->rest, conn->rest_len);
        conn->rest = conn->spill;
    }
    watch(conn, EPOLLIN | EPOLLOUT, EPOLL_CTL_MOD);
}

static void paced_event(struct conn *conn, int64_t now) {
    char buffer[1024], delta[64];
    size_t len = 0;
    if (conn->sent == tokens) {
        conn->mode = NONE;
        transmit(conn, ending, ending_len);
        return;
    }
    if (conn->sent == 0) {
        memcpy(buffer, stream_head, stream_head_len);
        len = stream_head_len;
    }
    snprintf(delta, sizeof delta, "{\"content\":\"@%019lld \"}", (long long)now);
    len += chunked(buffer + len, sizeof buffer - len, delta, "null", "");
    conn->sent++;
    transmit(conn, buffer, len);
}

static void next_event(struct conn *conn) {
    if (conn->rest_len) return; /* slower than we are: later */
    if (conn->sent == 0) {
        char buffer[1024];
        memcpy(buffer, stream_head, stream_head_len);
        memcpy(buffer + stream_head_len, events[0], events_len[0]);
        conn->sent = 1;
        /* The head and the first event fit any empty socket buffer. */
        if (send(conn->fd, buffer, stream_head_len + events_len[0], MSG_NOSIGNAL) < 0) drop(conn);
        return;
    }
    int i = conn->sent++;
    if (conn->sent == EVENTS) conn->mode = NONE;
    transmit(conn, events[i], events_len[i]);
}

/* --- requests --- */

/* The length of the request at the buffer's start, 0 while it is incomplete. */
static size_t request_len(struct conn *conn) {
    char *buffer = conn->request;
    char *end = memmem(buffer, conn->have, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = (size_t)(end + 4 - buffer), body = 0;
    for (char *line = memmem(buffer, head, "\r\n", 2); line && line < end;
         line = memmem(line + 2, (size_t)(end + 2 - (line + 2)), "\r\n", 2)) {
        if (!strncasecmp(line + 2, "content-length:", 15)) {
            body = strtoul(line + 17, NULL, 10);
        } else if (!strncasecmp(line + 2, "transfer-encoding:", 18)) {
            char *last = memmem(end + 2, conn->have - head + 2, "\r\n0\r\n\r\n", 7);
            return last ? (size_t)(last + 7 - buffer) : 0;
        }
    }
    return conn->have >= head + body ? head + body : 0;
}

static void answer(struct conn *conn) {
    static const char missing[] = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
    char *path = memchr(conn->request, ' ', 16);
    conn->sent = 0;
    if (path && !strncmp(path, " /unary/", 8)) {
        transmit(conn, unary, unary_len);
    } else if (path && !strncmp(path, " /stream/", 9)) {
        transmit(conn, stream, stream_len);
    } else if (path && !strncmp(path, " /events/", 9)) {
        conn->mode = EVENT_BY_EVENT;
        if (!conn->queued) push(&ready, conn);
    } else if (path && !strncmp(path, " /paced/", 8)) {
        int64_t now = now_ns();
        conn->mode = PACED;
        paced_event(conn, now);
        conn->due = now + interval;
        if (!conn->queued && !conn->closed) push(&paced, conn);
    } else {
        transmit(conn, missing, sizeof missing - 1);
    }
}

static void readable(struct conn *conn) {
    ssize_t n = recv(conn->fd, conn->request + conn->have, REQUEST_MAX - conn->have, 0);
    if (n <= 0) {
        if (n == 0 || errno != EAGAIN) drop(conn);
        return;
    }
    conn->have += (size_t)n;
    size_t len;
    while (conn->have && conn->mode == NONE && !conn->closed && (len = request_len(conn))) {
        answer(conn);
        conn->have -= len;
        memmove(conn->request, conn->request + len, conn->have);
    }
    if (conn->have == REQUEST_MAX) drop(conn);
}

static void writable(struct conn *conn) {
    const char *data = conn->rest;
    size_t len = conn->rest_len;
    conn->rest_len = 0;
    watch(conn, EPOLLIN, EPOLL_CTL_MOD);
    if (len) transmit(conn, data, len);
}

/* One event for every stream of the round; then the paced streams that are due. */
static void turn(void) {
    struct conn *last = ready.tail;
    while (ready.head) {
        struct conn *conn = pop(&ready);
        if (conn->closed) {
            conn->next = dead;
            dead = conn;
        } else {
            next_event(conn);
            if (conn->mode == EVENT_BY_EVENT && !conn->closed) push(&ready, conn);
        }
        if (conn == last) break;
    }
    int64_t now = now_ns();
    while (paced.head && paced.head->due <= now) {
        struct conn *conn = pop(&paced);
        if (conn->closed) {
            conn->next = dead;
            dead = conn;
            continue;
        }
        if (!conn->rest_len) paced_event(conn, now_ns());
        conn->due += interval;
        if (conn->mode == PACED && !conn->closed) push(&paced, conn);
    }
    if (paced.head && !ready.head) {
        struct itimerspec at = {.it_value = {paced.head->due / 1000000000, paced.head->due % 1000000000}};
        timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
    }
    while (dead) {
        struct conn *conn = dead;
        dead = conn->next;
        free(conn);
    }
}

int main(int argc, char **argv) {
    if (argc == 3) {
        tokens = atoi(argv[1]);
        interval = (int64_t)(1e9 / atof(argv[2]));
    }
    prepare();
    signal(SIGPIPE, SIG_IGN);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) < 0 || listen(listener, 4096) < 0) die("listen");
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    epoll_fd = epoll_create1(0);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    struct epoll_event found[BATCH], event = {.events = EPOLLIN};
    int sources[] = {listener, timer_fd, 0};
    for (int i = 0; i < 3; i++) {
        event.data.ptr = &sources[i];
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, sources[i], &event) < 0) die("epoll_ctl");
    }
    for (;;) {
        int n = epoll_wait(epoll_fd, found, BATCH, ready.head ? 0 : -1);
        for (int i = 0; i < n; i++) {
            char byte[8];
            if (found[i].data.ptr == &sources[2]) {
                if (read(0, byte, 1) <= 0) return 0;
            } else if (found[i].data.ptr == &sources[1]) {
                if (read(timer_fd, byte, 8) < 0 && errno != EAGAIN) die("timer");
            } else if (found[i].data.ptr == &sources[0]) {
                int fd;
                while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    struct conn *conn = calloc(1, sizeof *conn);
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
                    conn->fd = fd;
                    watch(conn, EPOLLIN, EPOLL_CTL_ADD);
                }
            } else {
                struct conn *conn = found[i].data.ptr;
                if (conn->closed) continue;
                if (found[i].events & EPOLLOUT) writable(conn);
                if (!conn->closed && found[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(conn);
            }
        }
        turn();
    }
}
