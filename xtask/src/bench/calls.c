/* Makes and drops sockets so many calls deep: `calls DEPTH ROUNDS`. Writes the nanoseconds of CPU time
 * that socket() and close() take, and connect(), and accept(). */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

static int calls(int rounds)
{
	struct sockaddr_in address = { .sin_family = AF_INET };
	struct linger reset = { 1, 0 };
	socklen_t size = sizeof address;
	double began, clock, connects = 0, accepts = 0;
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	began = now();
	for (int i = 0; i < 10000; i++)
		now();
	clock = (now() - began) / 10000;
	began = now();
	for (int i = 0; i < rounds; i++)
		close(socket(AF_INET, SOCK_STREAM, 0));
	printf("%f", (now() - began) / rounds);
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(listener, (void *)&address, size) || listen(listener, 8) ||
	    getsockname(listener, (void *)&address, &size))
		return 1;
	rounds /= 10;
	for (int i = 0; i < rounds; i++) {
		int client = socket(AF_INET, SOCK_STREAM, 0), server;
		double before = now(), between;

		if (connect(client, (void *)&address, size))
			return 1;
		between = now();
		server = accept(listener, 0, 0);
		accepts += now() - between;
		connects += between - before;
		/* No port is kept. */
		setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
		close(client);
		close(server);
	}
	printf(" %f %f\n", connects / rounds - clock, accepts / rounds - clock);
	return 0;
}

__attribute__((noinline)) static int deeper(int depth, int rounds)
{
	int failed = depth > 1 ? deeper(depth - 1, rounds) : calls(rounds);

	/* Something is left to do: no call is a jump. */
	__asm__ volatile("" : "+r"(failed));
	return failed;
}

int main(int count, char **arguments)
{
	return count < 3 || deeper(atoi(arguments[1]), atoi(arguments[2]));
}
