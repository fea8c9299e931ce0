// A crowd of processes, each with a socket of its own, all alive at once: `crowd FIRST THEN` makes so many,
// ends them, and does it again.
//
// They share memory, so that sixteen thousand of them cost little more than their kernel stacks.

#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 8192 };

static int done[2];

static int member(void *unused)
{
    (void)unused;
    if (socket(AF_INET, SOCK_DGRAM, 0) < 0 || write(done[1], ".", 1) != 1)
        return 1;
    for (;;)
        pause();
}

static void crowd(int count)
{
    char *stacks = mmap(NULL, (size_t)count * STACK, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    pid_t *pids = calloc(count, sizeof *pids);
    char dot;
    if (stacks == MAP_FAILED || !pids)
        exit(2);
    for (int i = 0; i < count; i++) {
        pids[i] = clone(member, stacks + (size_t)(i + 1) * STACK, CLONE_VM | SIGCHLD, NULL);
        if (pids[i] < 0 || read(done[0], &dot, 1) != 1) {
            perror("clone");
            exit(3);
        }
    }
    for (int i = 0; i < count; i++)
        kill(pids[i], SIGKILL);
    for (int i = 0; i < count; i++)
        waitpid(pids[i], NULL, 0);
}

int main(int argc, char **argv)
{
    if (argc != 3 || pipe(done))
        return 2;
    crowd(atoi(argv[1]));
    crowd(atoi(argv[2]));
    return 0;
}
