/* A receiver that stores what comes and checks nothing: how fast any receiver could be here.

   Usage: bare --fork [options, which are ignored] -od FOLDER PORT

   It has a process for each association and a file for each object, with the system calls that
   the data need and hardly an instruction beside them. It trusts its peer in everything. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROOM = 2 << 20, PARTS = 1000, META = 330 };
enum { RQ = 1, AC, RJ, DATA, RELEASE_RQ, RELEASE_RP };   /* PS3.8 section 9.3 */
enum { C_STORE_RQ = 0x0001, C_ECHO_RQ = 0x0030 };         /* PS3.7 annex E */

static int peer, file;
static uint8_t *room;
static size_t start, end;   /* of what is in the room and not yet done with */
static struct iovec parts[PARTS];
static int count;
static struct { uint32_t command; uint8_t message[2]; char class[66], instance[66]; } request;

static uint32_t big(const uint8_t *at, int size)
{
	uint32_t value = 0;
	while (size--)
		value = value << 8 | *at++;
	return value;
}

static uint32_t little(const uint8_t *at, int size)
{
	uint32_t value = 0;
	while (size--)
		value = value << 8 | at[size];
	return value;
}

static void put(const void *bytes, size_t size)
{
	int on = 1;
	if (write(peer, bytes, size) != (ssize_t)size)
		err(1, "write to peer");
	setsockopt(peer, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
}

static void store(void)
{
	if (count && writev(file, parts, count) < 0)
		err(1, "write to file");
	count = 0;
}

/* Have so many bytes in the room; what was in it before is written, since it will move. */
static void need(size_t size)
{
	if (end - start >= size)
		return;
	store();
	memmove(room, room + start, end - start);
	end -= start;
	start = 0;
	while (end < size) {
		ssize_t got = recv(peer, room + end, ROOM - end, 0);
		if (got <= 0)
			_exit(got < 0);
		end += got;
	}
}

static uint8_t *next_pdu(uint32_t *length)
{
	need(6);
	*length = big(room + start + 2, 4);
	need(6 + *length);
	uint8_t *pdu = room + start;
	start += 6 + *length;
	return pdu;
}

/* Accept every context with the first transfer syntax that it has. */
static void accept_association(void)
{
	static const uint8_t user[] = {0x50, 0, 0, 16, 0x51, 0, 0, 4, 0, 0, 0x40, 0,
	                               0x52, 0, 0, 4, '1', '.', '2', '3'};
	static uint8_t answer[1 << 16];
	uint32_t length;
	uint8_t *rq = next_pdu(&length), *to = answer + 74;
	memcpy(answer, rq, 74);
	answer[0] = AC;
	for (uint8_t *item = rq + 74; item < rq + 6 + length; item += 4 + big(item + 2, 2)) {
		if (item[0] == 0x10) {
			memcpy(to, item, 4 + big(item + 2, 2));
			to += 4 + big(item + 2, 2);
		} else if (item[0] == 0x20) {
			uint8_t *syntax = item + 8;
			while (syntax[0] != 0x40)
				syntax += 4 + big(syntax + 2, 2);
			uint32_t size = 4 + big(syntax + 2, 2);
			uint8_t head[8] = {0x21, 0, (4 + size) >> 8, 4 + size, item[4], 0, 0, 0};
			memcpy(to, head, 8);
			memcpy(to + 8, syntax, size);
			to += 8 + size;
		}
	}
	memcpy(to, user, sizeof user);
	to += sizeof user;
	uint32_t size = htonl(to - answer - 6);
	memcpy(answer + 2, &size, 4);
	put(answer, to - answer);
}

static void read_command(const uint8_t *at, const uint8_t *stop)
{
	for (uint32_t size; at < stop; at += 8 + size) {
		size = little(at + 4, 4);
		const uint8_t *value = at + 8;
		switch (little(at + 2, 2)) {
		case 0x0002: snprintf(request.class, sizeof request.class, "%.*s", size, value); break;
		case 0x0100: request.command = little(value, 2); break;
		case 0x0110: memcpy(request.message, value, 2); break;
		case 0x1000: snprintf(request.instance, sizeof request.instance, "%.*s", size, value);
		}
	}
}

static uint8_t *element(uint8_t *to, uint16_t number, const void *value, uint32_t size)
{
	uint32_t padded = size + (size & 1);
	uint8_t head[8] = {0, 0, number, number >> 8, padded};
	memcpy(to, head, 8);
	to[8 + padded - 1] = 0;
	memcpy(to + 8, value, size);
	return to + 8 + padded;
}

static void respond(uint8_t context)
{
	uint8_t answer[400], *to = answer + 24;
	uint8_t command[2] = {request.command, 0x80}, nothing[2] = {1, 1}, success[2] = {0, 0};
	to = element(to, 0x0002, request.class, strlen(request.class));
	to = element(to, 0x0100, command, 2);
	to = element(to, 0x0120, request.message, 2);
	to = element(to, 0x0800, nothing, 2);
	to = element(to, 0x0900, success, 2);
	if (request.command == C_STORE_RQ)
		to = element(to, 0x1000, request.instance, strlen(request.instance));
	uint32_t all = to - answer;
	uint8_t group[4] = {all - 24, (all - 24) >> 8};
	uint8_t head[12] = {DATA, 0, 0, 0, (all - 6) >> 8, all - 6,
	                    0, 0, (all - 10) >> 8, all - 10, context, 3};
	memcpy(answer, head, 12);
	element(answer + 12, 0x0000, group, 4);
	put(answer, all);
}

static void begin_file(const char *folder)
{
	static const uint8_t meta[META];
	file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
	if (file < 0)
		err(1, "%s", folder);
	parts[count++] = (struct iovec){(void *)meta, META};
}

static void end_file(const char *folder)
{
	char from[40], to[4096];
	store();
	snprintf(from, sizeof from, "/proc/self/fd/%d", file);
	snprintf(to, sizeof to, "%s/%s", folder, request.instance);
	if (linkat(AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW))
		err(1, "%s", to);
	close(file);
}

static void serve(const char *folder)
{
	static const uint8_t released[10] = {RELEASE_RP, 0, 0, 0, 0, 4};
	uint32_t length;
	accept_association();
	for (;;) {
		uint8_t *pdu = next_pdu(&length);
		if (pdu[0] == RELEASE_RQ) {
			put(released, sizeof released);
			while (recv(peer, room, ROOM, 0) > 0)
				;
			return;
		}
		if (pdu[0] != DATA)
			return;
		for (uint8_t *pdv = pdu + 6; pdv < pdu + 6 + length; pdv += 4 + big(pdv, 4)) {
			uint8_t control = pdv[5], *bytes = pdv + 6;
			size_t size = big(pdv, 4) - 2;
			if (control & 1) {
				read_command(bytes, bytes + size);
				if (request.command == C_ECHO_RQ)
					respond(pdv[4]);
				else
					begin_file(folder);
				continue;
			}
			parts[count++] = (struct iovec){bytes, size};
			if (count == PARTS)
				store();
			if (control & 2) {
				end_file(folder);
				respond(pdv[4]);
			}
		}
	}
}

int main(int argc, char **argv)
{
	const char *folder = ".";
	int on = 1;
	if (argc == 2)
		return puts("bare") < 0;   /* --version */
	for (int i = 1; i < argc - 1; i++)
		if (!strcmp(argv[i], "-od"))
			folder = argv[i + 1];
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[argc - 1])),
	                          .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, 128))
		err(1, "port %s", argv[argc - 1]);
	for (;;) {
		peer = accept(listener, NULL, NULL);
		if (peer >= 0 && fork() == 0) {
			setsockopt(peer, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
			setsockopt(peer, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
			room = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			serve(folder);
			_exit(0);
		}
		close(peer);
		while (waitpid(-1, NULL, WNOHANG) > 0)   /* so that their time is counted */
			;
	}
}
