// SPDX-License-Identifier: Apache-2.0
import BPFBindings
import LibBPF
import Testing

/// What the generated text contains for a source, and what it does not contain.
struct GeneratedTextTests {
  struct Case: Sendable {
    var source: String
    var lines: [String] = []
    var absent: [String] = []
  }

  private static let definitions = """
    #define SECTION(name) __attribute__((section(#name)))
    #define TAG(name) __attribute__((btf_type_tag(#name)))
    #define MAP(name, number, key_type, value_type) struct { \
      int (*type)[number]; int (*max_entries)[4]; key_type *key; value_type *value; \
    } name SECTION(.maps)
    #define TASK_STORAGE(name, value_type) struct { \
      int (*type)[29]; int (*map_flags)[1]; int *key; value_type *value; \
    } name SECTION(.maps)
    struct bpf_spin_lock { int value; };
    struct object;

    """

  @Test(arguments: [
    // Names that begin with underscores
    Case(
      source: "MAP(__map, 2, int, int); MAP(shown, 2, int, int); int __number, number;",
      lines: ["var shown: ", "var number: "],
      absent: ["__map", "__number"]
    ),
    // Programs and maps that belong to storage of Swift tasks
    Case(
      source: """
        struct __swift_task_slot_requests { long owner; int value; };
        MAP(requests, 2, int, struct __swift_task_slot_requests);
        MAP(requests_control, 2, int, int);
        SECTION(syscall) int requests_processes(void *context) { return 0; }
        """,
      lines: ["let requests: MmapStorage.SwiftTaskStorageDeclaration<Int32>"],
      absent: ["requestsControl", "requestsProcesses"]
    ),
    // Maps of each type
    Case(
      source: """
        struct key { long id; }; struct value { int count; };
        MAP(array, 2, int, struct value); MAP(hash, 1, struct key, struct value);
        MAP(lru, 9, struct key, struct value); MAP(per_cpu_array, 6, int, struct value);
        MAP(per_cpu_hash, 5, struct key, struct value);
        MAP(per_cpu_lru, 10, struct key, struct value);
        MAP(wide, 1, int, __int128); MAP(trie, 11, struct key, struct value);
        struct {
          int (*type)[2]; int (*max_entries)[4]; int (*map_flags)[1024]; int *key; long *value;
        } mapped SECTION(.maps);
        """,
      lines: [
        "var array: MmapStorage.BPFArrayMap<Value> {",
        "var hash: MmapStorage.BPFHashMap<Key, Value> {",
        "var lru: MmapStorage.BPFHashMap<Key, Value> {",
        "var perCPUArray: MmapStorage.BPFPerCPUArrayMap<Value> {",
        "var perCPUHash: MmapStorage.BPFPerCPUHashMap<Key, Value> {",
        "var perCPULru: MmapStorage.BPFPerCPUHashMap<Key, Value> {",
        "var wide: MmapStorage.BPFMap {", "var trie: MmapStorage.BPFMap {",
        "var mapped: MmapStorage.BPFMappedArray<Int64> {",
      ]
    ),
    // Arrays that cannot be mapped for writing
    Case(
      source: """
        #define FLAGS(name, flags) struct { \
          int (*type)[2]; int (*max_entries)[4]; int (*map_flags)[flags]; int *key; long *value; \
        } name SECTION(.maps)
        FLAGS(read_only, 1024 | 8); FLAGS(write_only, 1024 | 16); FLAGS(constant, 1024 | 128);
        FLAGS(kept, 1024 | 256);
        """,
      lines: [
        "var readOnly: MmapStorage.BPFArrayMap<Int64> {",
        "var writeOnly: MmapStorage.BPFArrayMap<Int64> {",
        "var constant: MmapStorage.BPFArrayMap<Int64> {",
        "var kept: MmapStorage.BPFMappedArray<Int64> {",
      ]
    ),
    // Values of task storage
    Case(
      source: """
        struct value { int count; }; struct page { struct value TAG(uptr) *value; };
        struct kept { struct object TAG(kptr) *object; };
        struct __task_storage_page_numbers { int value; };
        struct number_page { struct __task_storage_page_numbers TAG(uptr) *page; };
        TASK_STORAGE(plain, struct value); TASK_STORAGE(paged, struct page);
        TASK_STORAGE(kept, struct kept); TASK_STORAGE(numbers, struct number_page);
        TASK_STORAGE(address, void *);
        """,
      lines: [
        "var plain: MmapStorage.TaskLocalStorage<Value> {",
        "var paged: MmapStorage.TaskLocalStorage<Value> {",
        "var kept: MmapStorage.TaskLocalStorage<Kept> {",
        "var numbers: MmapStorage.TaskLocalStorage<Int32> {",
        "var address: MmapStorage.BPFMap {",
      ]
    ),
    // A ring buffer that was not declared with RING_BUFFER
    Case(
      source: """
        struct { int (*type)[27]; int (*max_entries)[4096]; } raw SECTION(.maps);
        """,
      lines: ["var raw: MmapStorage.BPFRingBuffer {"]
    ),
    // Names of Swift's standard library
    Case(
      source: "MAP(in, 2, int, int); int _1st; enum _2nd { SIZE_1, SIZE_2 } second;",
      lines: [
        "private let _in: MmapStorage.GeneratedMap<MmapStorage.BPFArrayMap<Int32>>",
        "var `in`: MmapStorage.BPFArrayMap<Int32> {",
        "var _1st: Int32", "struct _2nd: RawRepresentable", "static let size1 = ",
        "static let size2 = ",
      ]
    ),
    Case(source: "enum e { ONLY_ONE } e;", lines: ["static let onlyOne = Self(rawValue: 0)"]),
    // Sections
    Case(
      source: """
        extern int LINUX_KERNEL_VERSION SECTION(.kconfig);
        extern const int bpf_prog_active SECTION(.ksyms);
        SECTION(syscall) int use(void *context)
        { return LINUX_KERNEL_VERSION + *(volatile int *)&bpf_prog_active; }
        const volatile int limit SECTION(.rodata.limits) = 1; int count SECTION(.data.counts) = 1;
        long padded = 1, second = 2;
        """,
      lines: [
        "private let _data_counts: MmapStorage.GlobalSection",
        "get { _data_counts.load(Int32.self, at: 0) }",
        "get { _rodata_limits.load(Int32.self, at: 0) }",
        "nonmutating set { _data_counts.store(newValue, at: 0) }",
        "get { _data.load(Int64.self, at: 8) }", "set { _data.store(newValue, at: 8) }",
      ],
      absent: ["linuxKernelVersion", "bpfProgActive", "_rodata_limits.store", "use.", "_kconfig"]
    ),
    Case(
      source: """
        int shown(void) { static int inside; return inside++; }
        struct {} nothing; int more;
        """,
      lines: ["var more: Int32 {"],
      absent: ["inside", "nothing"]
    ),
    Case(
      source: "struct bpf_spin_lock lock SECTION(.data.a); int TAG(kptr) *kept; int number;",
      lines: ["var number: Int32 {"],
      absent: ["var lock", "var kept"]
    ),
    // Types
    Case(
      source: """
        struct kptr; struct s { signed char small; char letter; struct kptr *pointer; __int128 wide; } s;
        """,
      lines: ["var small: Int8", "var letter: CChar", "var pointer: UInt64"]
    ),
    Case(
      source: "typedef int test; typedef int TAG(kptr) *reference; typedef int none[0]; test x; "
        + "struct s { reference kept; none none; int y; } s;",
      lines: ["typealias TestValue = Int32"],
      absent: ["typealias Reference", "typealias None"]
    ),
    // The lock has no alias, because the alias could have the name of another type
    Case(
      source: "typedef struct bpf_spin_lock a_b; struct aB { a_b lock; int x; }; struct aB v;",
      lines: ["struct AB: MmapStorage.MapValue"],
      absent: ["typealias"]
    ),
    // A member of a union that shares no bytes with other members
    Case(
      source: "struct s { union { struct { int a; _Bool b; }; int c; }; int d; } s;",
      lines: ["var b: MmapStorage.Place<Bool> { MmapStorage.Place(4) }", "var d: Int32\n"],
      absent: ["var b: Bool\n"]
    ),
    // Bytes of members, and others
    Case(
      source: "struct s { char a; long b; unsigned c : 3; } s;",
      lines: ["private var _padding1: ", "private var _bytes16: ", "private var _padding20: "]
    ),
    // The C declarations
    Case(
      source: """
        struct s { struct { int x; struct { int y, z; }; }; int (*rows)[3], *columns[3];
          const char *const name; int (*functions[2])(int); int low : 3; } s;
        const volatile int limit = 1; int use(void) { return limit; }
        """,
      lines: [
        "///         int x;  /* byte 0 */", "///             int z;  /* byte 8 */",
        "int (*rows)[3];  /* byte 16 */", "int *columns[3];  /* byte 24 */",
        "const char *const name;  /* byte 48 */", "void (*functions[2])();  /* byte 56 */",
        "int low : 3;  /* byte 72, bit 0 */", "/// `const volatile int limit`",
      ]
    ),
    // The largest
    Case(
      source: "unsigned char bytes[65536]; struct s { char bytes[65536]; } s;",
      lines: ["var bytes: ", "struct S: MmapStorage.MapValue"]
    ),
  ])
  func text(_ test: Case) throws {
    let text = try BPFBindingsTests.text(Self.definitions + test.source)
    for line in test.lines { #expect(text.contains(line), "\(line)") }
    for line in test.absent { #expect(!text.contains(line), "\(line)") }
  }

  @Test(arguments: [
    (
      "SECTION(syscall) int a_b(void *c) { return 0; } "
        + "SECTION(syscall) int aB(void *c) { return 0; }", "a_b"
    ),
    ("typedef char large[65537]; MAP(map, 1, int, large);", "65537 bytes"),
    ("unsigned char bytes[65537];", "65537 bytes"),
  ])
  func refused(source: String, text: String) throws {
    #expect(try error(Self.definitions + source).description.contains(text))
  }
}
