/* Opens what it does not close, in functions that can be told apart; does what it is told on its
 * standard input, and ends with it. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in address;
static int listener;

/* The peer closes at once: what is accepted is left in CLOSE_WAIT. The kernel may answer a FIN
 * some milliseconds later; closed before that, the client would be kept without an owner until
 * then, and be there or not when somebody looks. */
static void knock(void)
{
	int client = socket(AF_INET, SOCK_STREAM, 0);
	struct tcp_info info;
	socklen_t size = sizeof info;

	if (connect(client, (void *)&address, sizeof address) != 0)
		exit(1);
	shutdown(client, SHUT_WR);
	do {
		usleep(500);
		if (getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &size) != 0)
			exit(1);
	} while (info.tcpi_state == TCP_FIN_WAIT1);
	close(client);
}

/* No call is a jump: something is left to do after each. */
#define KEEP(fd) __asm__ volatile("" : : "r"(fd) : "memory")

__attribute__((noinline)) void leak_here(void)
{
	int fd = accept(listener, 0, 0);
	KEEP(fd);
}

__attribute__((noinline)) void leak_there(void)
{
	int fd = accept4(listener, 0, 0, SOCK_CLOEXEC);
	KEEP(fd);
}

__attribute__((noinline)) void forget(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	KEEP(fd);
}

/* Of a socket that was there before, only this is seen. */
__attribute__((noinline)) void reconnect(int fd)
{
	int failed = connect(fd, (void *)&address, sizeof address);
	KEEP(failed);
}

static void *idle(void *unused)
{
	pause();
	return unused;
}

int main(void)
{
	char line[64];
	socklen_t size = sizeof address;
	int early = socket(AF_INET, SOCK_STREAM, 0);

	listener = socket(AF_INET, SOCK_STREAM, 0);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (void *)&address, size) || listen(listener, 128) ||
	    getsockname(listener, (void *)&address, &size))
		return 1;
	printf("ready %d\n", getpid());
	fflush(stdout);
	while (fgets(line, sizeof line, stdin)) {
		char word[16] = "";
		int times = 1;
		pthread_t thread;

		sscanf(line, "%15s %d", word, &times);
		for (int i = 0; i < times; i++) {
			if (!strcmp(word, "here")) {
				knock();
				leak_here();
			} else if (!strcmp(word, "there")) {
				knock();
				leak_there();
			} else if (!strcmp(word, "forget")) {
				forget();
			} else if (!strcmp(word, "connect")) {
				reconnect(early);
			} else if (!strcmp(word, "thread")) {
				pthread_create(&thread, 0, idle, 0);
			} else if (!strcmp(word, "leave")) {
				/* The child has everything; who opened it is gone. */
				pid_t parent = getpid();

				if (fork() != 0)
					_exit(0);
				while (getppid() == parent)
					usleep(1000);
			}
		}
		printf("done\n");
		fflush(stdout);
	}
	return 0;
}
