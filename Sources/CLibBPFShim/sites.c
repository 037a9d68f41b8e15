#include "mms_sites.h"

#include <errno.h>
#include <gelf.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <string.h>

/* As in mmap_storage.bpf.h. */
#define NEVER 0x6d6d6170

static bool is_site(const struct bpf_insn *insn)
{
	return insn->code == (BPF_JMP | BPF_JEQ | BPF_K) && insn->imm == NEVER;
}

static int take_jumps(char *bytes, size_t size)
{
	struct bpf_insn insn;
	int count = 0;

	for (size_t at = 0; at + sizeof(insn) <= size; at += sizeof(insn)) {
		memcpy(&insn, bytes + at, sizeof(insn));
		if (is_site(&insn)) {
			insn.code = BPF_JMP | BPF_JNE | BPF_K;
			memcpy(bytes + at, &insn, sizeof(insn));
			count++;
		}
		/* The second half of a 64-bit constant is no instruction. */
		if (insn.code == (BPF_LD | BPF_IMM | BPF_DW))
			at += sizeof(insn);
	}
	return count;
}

int mms_take_user_page_jumps(void *bytes, size_t size)
{
	Elf_Scn *section = NULL;
	GElf_Shdr header;
	int count = 0;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_memory(bytes, size);
	if (!elf)
		return -EINVAL;
	while ((section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &header)) {
			count = -EINVAL;
			break;
		}
		if (header.sh_type != SHT_PROGBITS || !(header.sh_flags & SHF_EXECINSTR))
			continue;
		if (header.sh_offset > size || header.sh_size > size - header.sh_offset) {
			count = -EINVAL;
			break;
		}
		count += take_jumps((char *)bytes + header.sh_offset, header.sh_size);
	}
	elf_end(elf);
	return count;
}
