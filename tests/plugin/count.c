/*
 * A QEMU plugin that counts what a guest executes: instructions, and bytes moved by string instructions.
 *
 *     -plugin count.so,counts=FILE
 *
 * FILE holds the counters below, each 8 bytes in the host's byte order, and is mapped: whoever reads it
 * sees the present values at any time. It must exist and be large enough. The guest must have one
 * processor, because the counters are added to without locks.
 *
 * QEMU translates "rep movs" to a loop: one pass moves one element and jumps back to the instruction while
 * the count lasts. So the passes are counted as often as the instruction begins, the bytes are passes
 * times width, and "instructions without copies" is all less the passes. (Counting where it stores would
 * be as good, were it not that QEMU 7.2 adds to a counter of stores at loads, too.)
 *
 * Plugin API version 1, as QEMU 6.0 to 8.2 have it. Debian ships QEMU without the header, so what is used
 * of it is declared here (docs/devel/tcg-plugins.rst in QEMU's source).
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the part of the plugin API that is used ---- */

#define EXPORTED __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;

enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

typedef void (*translated_t)(qemu_plugin_id_t id, struct qemu_plugin_tb *block);

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id, translated_t callback);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *block, enum qemu_plugin_op op,
                                              void *counter, uint64_t addend);
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, enum qemu_plugin_op op,
                                                void *counter, uint64_t addend);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *insn);

/* ---- the counters, in the order of the file ---- */

struct counts {
    uint64_t kernel;       /* instructions at addresses of the upper half */
    uint64_t user;         /* instructions at addresses of the lower half */
    uint64_t moves;        /* passes of rep movs, among the instructions */
    uint64_t moved;        /* bytes that they copied */
    uint64_t fills;        /* passes of rep stos, among the instructions */
    uint64_t filled;       /* bytes that they wrote */
    uint64_t system_calls; /* syscall instructions */
};

static struct counts *counts;

/* Prefixes of an instruction of 64-bit code that matter here. */
struct prefixes {
    int repeat;
    int operand_16;
    int wide;
};

/* Skips prefixes and says which there were; returns where the opcode begins. */
static size_t skip_prefixes(const uint8_t *code, size_t length, struct prefixes *found)
{
    size_t at = 0;

    for (; at < length; at++) {
        uint8_t byte = code[at];

        if (byte == 0xf3 || byte == 0xf2) {
            found->repeat = 1;
        } else if (byte == 0x66) {
            found->operand_16 = 1;
        } else if ((byte & 0xf0) == 0x40) {
            found->wide = (byte & 0x08) != 0;
        } else if (byte != 0x67 && byte != 0x2e && byte != 0x36 && byte != 0x3e && byte != 0x26 &&
                   byte != 0x64 && byte != 0x65) {
            break;
        }
    }
    return at;
}

/* The width in bytes of one element of a string instruction; its opcode is even for single bytes. */
static uint64_t element_bytes(uint8_t opcode, const struct prefixes *prefixes)
{
    if ((opcode & 1) == 0)
        return 1;
    if (prefixes->wide)
        return 8;
    return prefixes->operand_16 ? 2 : 4;
}

static void count_string(struct qemu_plugin_insn *insn, uint64_t *passes, uint64_t *bytes, uint64_t width)
{
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, passes, 1);
    qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, bytes, width);
}

static void look_at(struct qemu_plugin_insn *insn)
{
    const uint8_t *code = qemu_plugin_insn_data(insn);
    size_t length = qemu_plugin_insn_size(insn);
    struct prefixes prefixes = {0, 0, 0};
    size_t at = skip_prefixes(code, length, &prefixes);

    if (at == length)
        return;
    if (prefixes.repeat && (code[at] == 0xa4 || code[at] == 0xa5))
        count_string(insn, &counts->moves, &counts->moved, element_bytes(code[at], &prefixes));
    else if (prefixes.repeat && (code[at] == 0xaa || code[at] == 0xab))
        count_string(insn, &counts->fills, &counts->filled, element_bytes(code[at], &prefixes));
    else if (at + 1 < length && code[at] == 0x0f && code[at + 1] == 0x05)
        qemu_plugin_register_vcpu_insn_exec_inline(insn, QEMU_PLUGIN_INLINE_ADD_U64, &counts->system_calls, 1);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    size_t insns = qemu_plugin_tb_n_insns(block);
    uint64_t *executed = qemu_plugin_tb_vaddr(block) >> 63 ? &counts->kernel : &counts->user;

    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, executed, insns);
    for (size_t index = 0; index < insns; index++)
        look_at(qemu_plugin_tb_get_insn(block, index));
}

/* Maps the file of the counters; says on standard error why it cannot. */
static struct counts *mapped(const char *path)
{
    struct stat status;
    void *memory;
    int file = open(path, O_RDWR | O_CLOEXEC);

    if (file < 0) {
        perror(path);
        return NULL;
    }
    if (fstat(file, &status) != 0 || (uint64_t)status.st_size < sizeof(struct counts)) {
        fprintf(stderr, "%s: has fewer than %zu bytes; make it longer\n", path, sizeof(struct counts));
        close(file);
        return NULL;
    }
    memory = mmap(NULL, sizeof(struct counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) {
        perror(path);
        return NULL;
    }
    return memory;
}

EXPORTED int qemu_plugin_version = 1;

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    static const char name[] = "counts=";

    (void)info;
    if (argc != 1 || strncmp(argv[0], name, sizeof name - 1) != 0) {
        fputs("count.so takes one argument: counts=FILE\n", stderr);
        return -1;
    }
    counts = mapped(argv[0] + sizeof name - 1);
    if (!counts)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
