/* Counter: a plug-in of qemu-user that counts a guest's A64 instructions by class between two marks.
 *
 * The guest marks by asking for process groups that do not exist (getpgid of 0x65700001 begins, 0x65700002 ends).
 * At each end one line goes to the file named by out=: the counts since the mark before, in the order of the enum.
 *
 * The functions of qemu's plug-in interface, version 1, are declared here: distributions ship no header of it.
 * Encodings: Arm Architecture Reference Manual, C4.1 "A64 instruction set encoding".
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SHOWN __attribute__((visibility("default")))

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef void (*on_translated)(plugin_id, struct qemu_plugin_tb *);
typedef void (*on_syscall)(plugin_id, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                           uint64_t, uint64_t, uint64_t);
enum inline_operation { ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, on_translated);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum inline_operation, void *, uint64_t);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id, on_syscall);

SHOWN int qemu_plugin_version = 1;

enum kind { OTHER, FLOAT_MULTIPLY_ADD, DOT_PRODUCT, INTEGER_MULTIPLY_ADD, LOAD_STORE, BRANCH, TOTAL, KINDS };

/* The first row that fits says the class. */
static const struct {
    uint32_t mask, value;
    enum kind kind;
} encodings[] = {
    {0x9FE0FC00, 0x0E809400, DOT_PRODUCT},          /* SDOT, UDOT */
    {0x9FC0F400, 0x0F80E000, DOT_PRODUCT},          /* SDOT, UDOT by element */
    {0xBFE0FC00, 0x0E809C00, DOT_PRODUCT},          /* USDOT */
    {0xBF40F400, 0x0F00F000, DOT_PRODUCT},          /* SUDOT, USDOT by element */
    {0xDFE0FC00, 0x4E80A400, DOT_PRODUCT},          /* SMMLA, UMMLA */
    {0xFFE0FC00, 0x4E80AC00, DOT_PRODUCT},          /* USMMLA */
    {0xBF20FC00, 0x0E20CC00, FLOAT_MULTIPLY_ADD},   /* FMLA, FMLS */
    {0xBF60FC00, 0x0E400C00, FLOAT_MULTIPLY_ADD},   /* FMLA, FMLS of half precision */
    {0xBF80B400, 0x0F801000, FLOAT_MULTIPLY_ADD},   /* FMLA, FMLS by element */
    {0xBFC0B400, 0x0F001000, FLOAT_MULTIPLY_ADD},   /* the same of half precision */
    {0xFF000000, 0x1F000000, FLOAT_MULTIPLY_ADD},   /* FMADD, FMSUB, FNMADD, FNMSUB */
    {0x9F20DC00, 0x0E208000, INTEGER_MULTIPLY_ADD}, /* SMLAL, SMLSL, UMLAL, UMLSL */
    {0x9F20FC00, 0x0E20C000, INTEGER_MULTIPLY_ADD}, /* SMULL, UMULL */
    {0x9F00B400, 0x0F002000, INTEGER_MULTIPLY_ADD}, /* SMLAL, SMLSL, UMLAL, UMLSL by element */
    {0x9F00F400, 0x0F00A000, INTEGER_MULTIPLY_ADD}, /* SMULL, UMULL by element */
    {0x9F20FC00, 0x0E209400, INTEGER_MULTIPLY_ADD}, /* MLA, MLS */
    {0xBF00B400, 0x2F000000, INTEGER_MULTIPLY_ADD}, /* MLA, MLS by element */
    {0x0A000000, 0x08000000, LOAD_STORE},
    {0xFFC00000, 0xD5000000, OTHER},                /* hints, barriers, system registers */
    {0x1C000000, 0x14000000, BRANCH},               /* with exceptions: SVC, BRK */
};

static const unsigned begins = 0x65700001, ends = 0x65700002;
static const int64_t getpgid_of_a64 = 155;
static uint64_t counts[KINDS], before[KINDS];
static FILE *out;

SHOWN int edgeprune_kind(uint32_t word) {
    for (size_t row = 0; row < sizeof encodings / sizeof *encodings; row++)
        if ((word & encodings[row].mask) == encodings[row].value)
            return encodings[row].kind;
    return OTHER;
}

/* Counts of a translated block are added up once; a run through the block costs one addition per class. */
static void translated(plugin_id id, struct qemu_plugin_tb *block) {
    uint64_t found[KINDS] = {0};
    size_t length = qemu_plugin_tb_n_insns(block);
    (void)id;
    for (size_t place = 0; place < length; place++) {
        uint32_t word;
        memcpy(&word, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, place)), sizeof word);
        found[edgeprune_kind(word)]++;
    }
    found[TOTAL] = length;
    for (int kind = 0; kind < KINDS; kind++)
        if (found[kind])
            qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &counts[kind], found[kind]);
}

static void called(plugin_id id, unsigned vcpu, int64_t number, uint64_t group, uint64_t a2, uint64_t a3, uint64_t a4,
                   uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if (number != getpgid_of_a64)
        return;
    if ((uint32_t)group == begins)
        memcpy(before, counts, sizeof counts);
    if ((uint32_t)group == ends) {
        for (int kind = FLOAT_MULTIPLY_ADD; kind < KINDS; kind++)
            fprintf(out, "%" PRIu64 "%c", counts[kind] - before[kind], kind + 1 == KINDS ? '\n' : ' ');
        fflush(out);
    }
}

SHOWN int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    (void)info;
    for (int place = 0; place < argc; place++)
        if (!strncmp(argv[place], "out=", 4))
            out = fopen(argv[place] + 4, "w");
    if (!out)
        return -1;
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_vcpu_syscall_cb(id, called);
    return 0;
}
