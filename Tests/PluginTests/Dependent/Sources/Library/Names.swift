// SPDX-License-Identifier: Apache-2.0

// Types with names of the library. They hide the library's in this module, but not in generated code.
enum BitField {}
enum Fields {}
enum MapValue {}
enum Place {}
enum TaskLocalStorage {}
