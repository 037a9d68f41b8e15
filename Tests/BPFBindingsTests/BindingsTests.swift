// SPDX-License-Identifier: Apache-2.0
import BPFBindings
import Foundation
import LibBPF
import Testing

/// The generated text for objects that clang compiles here. scripts/check-generated checks the
/// behaviour of the generated code.
struct BindingsTests {
  @Test func fieldsOfAStructureAreStoredInOrder() throws {
    let text = try text(
      "struct request_tag { unsigned long request_id; char in; int words[2][3]; } tag;"
    )
    for line in [
      "struct RequestTag: MmapStorage.MapValue, BitwiseCopyable {", "var requestID: UInt64",
      "var `in`: CChar",
      "var words: InlineArray<2, InlineArray<3, Int32>>", "var tag: RequestTag {",
      "/// struct request_tag {  /* 40 bytes */", "///     int words[2][3];  /* byte 12 */",
    ] {
      #expect(text.contains(line), "\(line)")
    }
  }

  @Test func unionsAndBitFieldsAreComputed() throws {
    let text = try text(
      "struct s { union { int number; char bytes[4]; }; unsigned low : 3, high : 5; } s;"
    )
    #expect(text.contains("struct S: MmapStorage.PlacedMapValue"))
    #expect(
      text.contains(
        "var low: MmapStorage.BitField<UInt32> { MmapStorage.BitField(bit: 32, width: 3, signed: false) }"
      )
    )
    #expect(text.contains("var number: MmapStorage.Place<Int32> { MmapStorage.Place(0) }"))
  }

  @Test func signedMembersAndConstants() throws {
    let text = try text(
      "struct s { int low : 3; unsigned high : 5; } s; enum level { BELOW = -2, ABOVE = 1 } level;"
    )
    #expect(text.contains("MmapStorage.BitField(bit: 0, width: 3, signed: true)"))
    #expect(text.contains("MmapStorage.BitField(bit: 3, width: 5, signed: false)"))
    #expect(text.contains("static let below = Self(rawValue: -2)"))
  }

  /// A Swift structure that stored the member would be larger than the C structure.
  @Test func membersOfPackedStructuresAreNotStored() throws {
    let text = try text(
      "struct __attribute__((packed)) s { unsigned long number; char letter; } s;"
    )
    #expect(
      text.contains(
        "var number: MmapStorage.UnalignedPlace<UInt64> { MmapStorage.UnalignedPlace(0) }"
      )
    )
    #expect(text.contains("var letter: CChar\n") && !text.contains("var number: UInt64\n"))
  }

  @Test func pointersOfTheKernelAreHidden() throws {
    let text = try text(
      """
      struct object;
      struct s { struct object __attribute__((btf_type_tag("kptr"))) *hidden; void *shown; } s;
      """
    )
    #expect(text.contains("var shown: UInt64") && !text.contains("var hidden"))
  }

  @Test func mapsThatStorageOfSwiftTasksDeclaresForItselfAreHidden() throws {
    let text = try text(
      """
      #define MAP(name, element) struct { \
        int (*type)[2]; int (*max_entries)[4]; int *key; element *value; \
      } name __attribute__((section(".maps")))
      struct __swift_task_slot_requests { unsigned long owner; int value; };
      MAP(requests, struct __swift_task_slot_requests);
      MAP(requests_processes, int);
      MAP(others_processes, int);
      """
    )
    #expect(text.contains("let requests: ") && text.contains("var othersProcesses: "))
    #expect(!text.contains("requestsProcesses"))
  }

  @Test func enumerationsLoseTheirCommonPrefix() throws {
    let text = try text("enum phase { PHASE_QUEUED, PHASE_IN_PROGRESS = 5 } phase;")
    #expect(text.contains("struct Phase: RawRepresentable, MmapStorage.MapScalar, Hashable, "))
    #expect(text.contains("static let queued = Self(rawValue: 0)"))
    #expect(text.contains("static let inProgress = Self(rawValue: 5)"))
  }

  @Test func theFirstConstantWithANumberIsPrinted() throws {
    let text = try text("enum e { E_DEFAULT, E_FIRST = 0, E_NONE = -1 } e;")
    #expect(text.contains("case 0: \"default\"\n") && text.contains("case -1: \"none\"\n"))
    #expect(!text.contains("\"first\""))
  }

  @Test func enumeratorsDoNotHideProperties() throws {
    let text = try text("enum e { e_raw_value, e_bits } e;")
    for name in ["rawValue_", "bits"] {
      #expect(text.contains("static let \(name) = Self("), "\(name)")
    }
  }

  @Test func namesOfTheStandardLibraryAreQualified() throws {
    let text = try text(
      "struct u_int64 { unsigned long value; } number; struct array { int x; } array;"
    )
    #expect(
      text.contains("struct UInt64: MmapStorage.MapValue")
        && text.contains("var value: Swift.UInt64")
    )
  }

  @Test func aTypeWithTheObjectsNameIsRenamed() throws {
    #expect(
      try text("struct test { int x; } first;").contains("struct TestValue: MmapStorage.MapValue")
    )
  }

  @Test func theObjectHidesNoTypeOfTheLibrary() throws {
    let text = try text("int number;", typeName: "GlobalSection")
    #expect(text.contains("final class GlobalSection: Sendable"))
    #expect(
      text.contains("_data: MmapStorage.GlobalSection\n")
        || text.contains("_bss: MmapStorage.GlobalSection\n")
    )
  }

  /// The user's module may have types with these names.
  @Test func typesOfTheLibraryAreQualified() throws {
    let text = try text(
      """
      #define MAP(name, number, type_of_value) struct { \
        int (*type)[number]; int (*max_entries)[4]; int *key; type_of_value *value; \
      } name __attribute__((section(".maps")))
      enum phase { PHASE_ONE, PHASE_TWO };
      struct __attribute__((packed)) item {
        union { int number; float other; }; char letter; long last; int low : 3; enum phase phase;
      };
      MAP(hash, 1, struct item); MAP(array, 2, struct item); MAP(storage, 29, struct item);
      MAP(other, 11, struct item); struct item item = {1};
      """
    )
    let names =
      #/(?:^|[^.\w])(BPF(Error|Object|Map|\w+Map)|BackendKind|BitField|FieldLayout|Fields|GlobalSection|GeneratedMap|InitialGlobalValues|\w+Storage|Map(Value|Scalar)|PlacedMapValue|(Unaligned)?Place)\b/#
    for line in text.split(separator: "\n")
    where !line.contains("//") && !line.hasPrefix("@_spi(Generated) import ") {
      #expect(line.firstMatch(of: names) == nil, "\(line)")
    }
  }

  @Test func nestedTypesDoNotHideOthers() throws {
    let text = try text(
      """
      struct line { struct { struct point { int x; } first; } point; struct { int y; } line; } value;
      """
    )
    for line in [
      "struct Point: MmapStorage.MapValue", "var first: Point\n",
      "struct Point_: MmapStorage.MapValue",
      "var point: Line.Point_\n", "var line: Line.Line_\n",
    ] {
      #expect(text.contains(line), "\(line)")
    }
  }

  @Test func anonymousKeyAndValueCollide() throws {
    let error = try error(
      """
      struct {
        int (*type)[1]; int (*max_entries)[4]; struct { int a; } *key; struct { int b; } *value;
      } counts __attribute__((section(".maps")));
      """
    )
    #expect(error.cName == "counts" && error.description.contains("give one of them a name"))
  }

  @Test func typesThatNoMapUsesHaveNoAlias() throws {
    let text = try text(
      """
      typedef struct { int a; } first_key; typedef enum { A, B } keys[2];
      struct { int (*type)[1]; int (*max_entries)[4]; first_key *key; void **value; } one
        __attribute__((section(".maps")));
      struct { int (*type)[1]; int (*max_entries)[4]; keys *key; void **value; } two
        __attribute__((section(".maps")));
      """
    )
    #expect(text.contains("var one: MmapStorage.BPFMap {") && !text.contains("typealias"))
  }

  @Test func publicDeclarations() throws {
    let text = try text("struct s { int x; } s;", isPublic: true)
    for line in [
      "@_spi(Generated) public import MmapStorage", "public final class Test",
      "public struct S: MmapStorage.MapValue", "public var x: Int32", "public init(x: Int32 = 0)",
    ] {
      #expect(text.contains(line), "\(line)")
    }
  }

  @Test func constantsCanOnlyBeSetBeforeLoading() throws {
    let text = try text("const volatile int limit = 1; int use(void) { return limit; }")
    let parts = text.components(separatedBy: "struct InitialGlobals")
    #expect(parts[0].contains("var limit: Int32 {") && !parts[0].contains("nonmutating set"))
    #expect(parts[1].contains("set { _values.store(newValue, \"limit\") }"))
  }

  @Test(arguments: [
    ("struct s { int a_b; int aB; } s;", "a_b", "aB"),
    ("struct a_b { int x; } one; struct aB { int x; } two;", "a_b", "aB"),
    ("int a_b, aB;", "a_b", "aB"),
    ("typedef int a_b; struct aB { a_b x; } one;", "a_b", "aB"),
    ("typedef int a_b; typedef long aB; a_b one; aB two;", "a_b", "aB"),
    ("enum e { e_a_b, e_aB } e;", "e_a_b", "e_aB"),
  ])
  func collisionsNameBoth(source: String, first: String, second: String) throws {
    let error = try error(source)
    #expect(error.description.contains(first) && error.description.contains(second))
    #expect([first, second].contains(error.cName))
  }

  @Test func namesThatSwiftCannotHave() throws {
    #expect(try error("struct s { int _; } s;").cName == "_")
  }

  @Test func aBitFieldThatIsTooWide() throws {
    let error = try error("struct s { unsigned __int128 low : 3; } s;")
    #expect(error.description.contains("bit-field 'low' has a type of 16 bytes"))
    #expect(error.cName == "low" && error.enclosing == "s")
  }

  @Test(arguments: [
    ("struct s { int x; _Complex float number; } s;", "s"), ("_Complex double number;", ""),
    ("struct s { _Complex int number[2]; } s;", "s"),
  ])
  func typesThatSwiftDoesNotHave(source: String, enclosing: String) throws {
    let error = try error(source)
    #expect(error.description.contains("'number'") && error.cName == "number")
    #expect(error.enclosing == enclosing)
  }

  @Test(arguments: [
    ("struct large { char bytes[100000]; } one;", "large"),
    ("typedef struct { char bytes[100000]; } large_t; large_t one[2];", "one"),
    ("unsigned short numbers[50000];", "numbers"),
    ("struct part { char bytes[50000]; }; struct whole { struct part parts[2]; } value;", "whole"),
  ])
  func valuesThatAreTooLarge(source: String, cName: String) throws {
    let error = try error(source)
    #expect(error.cName == cName)
    #expect(error.description.contains("00000 bytes") && error.description.contains("smaller"))
  }

  @Test func typedefsHaveAliases() throws {
    let text = try text(
      """
      typedef unsigned long size_t; typedef unsigned int __u32; typedef __u32 request_id;
      typedef char name[16]; typedef struct pair { request_id id; size_t size; name name; } pair;
      typedef pair couple; typedef struct { int x; } point; enum e { a, b }; typedef enum e letter;
      couple first; point second; letter third;
      """
    )
    for line in [
      "typealias RequestID = UInt32", "typealias Name = InlineArray<16, CChar>",
      "typealias Couple = Pair", "typealias Letter = E",
    ] {
      #expect(text.contains("  /// C's type `") && text.contains("  \(line)\n"), "\(line)")
    }
    #expect(text.components(separatedBy: "typealias ").count == 5)
  }

  @Test func aTypedefHidesNoTypeOfTheStandardLibrary() throws {
    let text = try text("typedef unsigned short u_int32; u_int32 short_number; unsigned number;")
    #expect(text.contains("typealias UInt32 = UInt16\n"))
    #expect(
      text.contains("var shortNumber: UInt16 {") && text.contains("var number: Swift.UInt32 {")
    )
  }

  private static let lock = """
    struct bpf_spin_lock { int value; };
    #define SECTION(name) __attribute__((section(#name)))

    """

  @Test(arguments: [
    "static unsigned long only; unsigned long use(void) { return only++; }",
    "static const volatile int only = 1; int use(void) { return only; }",
    lock + "struct bpf_spin_lock hidden SECTION(.data.a); int only SECTION(.data.a) = 1;",
    lock + "struct bpf_spin_lock __lock SECTION(.data.a); int only SECTION(.data.a) = 1;",
    lock
      + "static struct bpf_spin_lock hidden SECTION(.data.a); int only SECTION(.data.a) = 1; "
      + "void *use(void) { return &hidden; }",
    lock
      + "struct node { struct bpf_spin_lock lock; int x; } __nodes[2] SECTION(.data.a) = {}; "
      + "int only SECTION(.data.a) = 1;",
    "int __attribute__((btf_type_tag(\"kptr\"))) *hidden; int only;",
  ])
  func variablesInSectionsThatCannotBeMappedHaveInitialValuesOnly(source: String) throws {
    let parts = try text("int other = 1; " + source).components(
      separatedBy: "struct InitialGlobals"
    )
    #expect(parts[0].contains("var other: Int32 {") && parts[1].contains("var other: Int32 {"))
    #expect(!parts[0].contains("var only:") && parts[1].contains("var only:"))
    #expect(parts[0].components(separatedBy: "try MmapStorage.GlobalSection(").count == 2)
  }
}
