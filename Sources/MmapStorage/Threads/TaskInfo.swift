// SPDX-License-Identifier: Apache-2.0
/// Information about a task of any process, from ``TaskLocalStorage/values()``.
public struct TaskInfo: Sendable, Hashable {
  /// The thread's id, in the pid namespace of the process that reads. 0 if the task is not in it.
  public var thread: ThreadID
  /// The id of the thread's process, in the same namespace.
  public var processID: Int32
  /// The thread's name (`comm`), of at most 15 bytes.
  public var threadName: String
  /// The name of the process's first thread, which is usually that of the executable.
  public var processName: String
  /// The real user id of the thread, in the initial user namespace.
  public var userID: UInt32
  /// When the thread started, in nanoseconds since the machine started. A thread id together with the
  /// start time is not used again.
  public var startTime: UInt64

  package init(
    thread: ThreadID,
    processID: Int32,
    threadName: String,
    processName: String,
    userID: UInt32,
    startTime: UInt64
  ) {
    self.thread = thread
    self.processID = processID
    self.threadName = threadName
    self.processName = processName
    self.userID = userID
    self.startTime = startTime
  }
}

/// A task with a copy of its value: a Swift type, or the bytes of the value.
public struct TaskValue<Value: Sendable>: Sendable {
  /// The task.
  public var task: TaskInfo
  /// The value. No field is torn, but the copy is not atomic.
  public var value: Value

  package init(task: TaskInfo, value: Value) {
    self.task = task
    self.value = value
  }
}

extension TaskValue: Equatable where Value: Equatable {}
extension TaskValue: Hashable where Value: Hashable {}
