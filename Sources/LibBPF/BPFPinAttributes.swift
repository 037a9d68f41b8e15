// SPDX-License-Identifier: Apache-2.0
import Glibc
public import SystemPackage

/// Permissions, owner and group of a pin, which is a file on a BPF file system.
///
/// The default is mode 0600 and the owner and group of the process. Opening a pin for writing needs read and
/// write permission. Opening a map for lookups needs read permission.
public struct BPFPinAttributes: Sendable, Hashable {
  /// The permissions. Execute permissions are ignored.
  var permissions: FilePermissions
  /// The user id of the owner; `nil` for that of the process. The directories of the pins
  /// belong to the user of the process.
  var owner: UInt32?
  /// The group id; `nil` for that of the process.
  var group: UInt32?

  /// Creates attributes.
  ///
  /// - Parameters:
  ///   - permissions: The permissions, by default 0600.
  ///   - owner: The user id of the owner. Another owner needs CAP_CHOWN.
  ///   - group: The group id. A group that the process is not in needs CAP_CHOWN.
  public init(
    permissions: FilePermissions = .ownerReadWrite,
    owner: UInt32? = nil,
    group: UInt32? = nil
  ) {
    self.permissions = permissions
    self.owner = owner
    self.group = group
  }

  /// Returns attributes with mode 0660 and this group: its members may read and write all values.
  ///
  /// - Parameters:
  ///   - group: The group id. A group that the process is not in needs CAP_CHOWN.
  ///   - readOnly: Sets mode 0640 instead: members may read all values, with
  ///     ``BPFMap/init(pinnedAt:readOnly:)``, and write none.
  /// - Returns: The attributes.
  public static func group(_ group: UInt32, readOnly: Bool = false) -> BPFPinAttributes {
    BPFPinAttributes(
      permissions: readOnly
        ? [.ownerReadWrite, .groupRead] : [.ownerReadWrite, .groupReadWrite],
      group: group
    )
  }

  /// The permissions of a directory whose files have these attributes: users who may read a file
  /// may list and enter the directory. The owner of the directory does not change, so another owner
  /// of the files counts as one of the others.
  var directoryPermissions: FilePermissions {
    var result: FilePermissions = [.ownerReadWriteExecute]
    let hasOtherOwner = owner.map { $0 != geteuid() } ?? false
    if hasOtherOwner || permissions.contains(.groupRead) {
      result.insert([.groupRead, .groupExecute])
    }
    if hasOtherOwner || permissions.contains(.otherRead) {
      result.insert([.otherRead, .otherExecute])
    }
    return result
  }
}
