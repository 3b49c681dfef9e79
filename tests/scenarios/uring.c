/* HTTP/1.1 test server on io_uring, plain submission: uring PORT LOG.
 *
 * Every accept, receive and send goes through the ring; raw system calls, so
 * that nothing but the kernel's headers is needed. Any bodiless request gets
 * `hello`; one line `METHOD path 200` goes to LOG. Exit status 3 says that
 * this kernel has no io_uring.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 64
#define CONNS 256
#define ACCEPT 0xffff

static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

static struct {
	int fd;
	unsigned *tail, *mask, *array;
	struct io_uring_sqe *sqes;
	unsigned *chead, *ctail, *cmask;
	struct io_uring_cqe *cqes;
	unsigned pending;
} ring;

static struct {
	int fd;
	size_t have;
	char buf[8192];
} conns[CONNS];

static int listener, log_fd;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void setup(void)
{
	struct io_uring_params p;
	memset(&p, 0, sizeof p);
	ring.fd = syscall(__NR_io_uring_setup, ENTRIES, &p);
	if (ring.fd < 0) {
		perror("io_uring_setup");
		exit(errno == ENOSYS || errno == EPERM ? 3 : 1);
	}
	char *sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned),
			PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	char *cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe),
			PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_CQ_RING);
	ring.sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe),
			 PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring.sqes == MAP_FAILED)
		die("mmap");
	ring.tail = (unsigned *)(sq + p.sq_off.tail);
	ring.mask = (unsigned *)(sq + p.sq_off.ring_mask);
	ring.array = (unsigned *)(sq + p.sq_off.array);
	ring.chead = (unsigned *)(cq + p.cq_off.head);
	ring.ctail = (unsigned *)(cq + p.cq_off.tail);
	ring.cmask = (unsigned *)(cq + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static void enter(unsigned wait)
{
	while (syscall(__NR_io_uring_enter, ring.fd, ring.pending, wait,
		       wait ? IORING_ENTER_GETEVENTS : 0, NULL, 0) < 0)
		if (errno != EINTR)
			die("io_uring_enter");
	ring.pending = 0;
}

static void submit(int op, int fd, const void *addr, unsigned len, unsigned user)
{
	if (ring.pending == ENTRIES)
		enter(0);
	unsigned at = *ring.tail & *ring.mask;
	struct io_uring_sqe *sqe = &ring.sqes[at];
	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = op;
	sqe->fd = fd;
	sqe->addr = (unsigned long)addr;
	sqe->len = len;
	sqe->user_data = user;
	if (op == IORING_OP_SEND)
		sqe->msg_flags = MSG_NOSIGNAL;
	ring.array[at] = at;
	__atomic_store_n(ring.tail, *ring.tail + 1, __ATOMIC_RELEASE);
	ring.pending++;
}

static void receive(unsigned c)
{
	submit(IORING_OP_RECV, conns[c].fd, conns[c].buf + conns[c].have,
	       sizeof conns[c].buf - conns[c].have, c << 1);
}

static void accepted(int fd)
{
	submit(IORING_OP_ACCEPT, listener, NULL, 0, ACCEPT);
	if (fd < 0)
		return;
	for (unsigned c = 0; c < CONNS; c++)
		if (!conns[c].fd) {
			conns[c].fd = fd;
			conns[c].have = 0;
			receive(c);
			return;
		}
	close(fd);
}

static void done(unsigned c, int res, int sent)
{
	if (res <= 0) {
		close(conns[c].fd);
		conns[c].fd = 0;
		return;
	}
	if (sent) {
		receive(c);
		return;
	}
	conns[c].have += res;
	char *end = memmem(conns[c].buf, conns[c].have, "\r\n\r\n", 4);
	if (!end) {
		receive(c);
		return;
	}
	char method[16], path[1024], line[1100];
	if (sscanf(conns[c].buf, "%15s %1023s", method, path) == 2) {
		int n = snprintf(line, sizeof line, "%s %s 200\n", method, path);
		if (write(log_fd, line, n) != n)
			die("log");
	}
	conns[c].have = 0;
	submit(IORING_OP_SEND, conns[c].fd, ANSWER, sizeof ANSWER - 1, c << 1 | 1);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: uring PORT LOG\n");
		return 2;
	}
	setup();
	log_fd = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0644);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	int one = 1;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])) };
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (log_fd < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 512))
		die(argv[1]);
	submit(IORING_OP_ACCEPT, listener, NULL, 0, ACCEPT);
	for (;;) {
		enter(1);
		unsigned head = *ring.chead;
		while (head != __atomic_load_n(ring.ctail, __ATOMIC_ACQUIRE)) {
			struct io_uring_cqe cqe = ring.cqes[head & *ring.cmask];
			__atomic_store_n(ring.chead, ++head, __ATOMIC_RELEASE);
			if (cqe.user_data == ACCEPT)
				accepted(cqe.res);
			else
				done(cqe.user_data >> 1, cqe.res, cqe.user_data & 1);
		}
	}
}
