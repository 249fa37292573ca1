/// The one error type of the library: what kind of failure, and one line that names the argument, what was got and what was expected.
///
/// Kinds map one to one to the `MEDDINO_E_*` codes of `include/meddino.h`.
public struct MedDINOError: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Int32, Sendable {
    case invalid = 1
    case cancelled, outOfMemory, io, format, shape, unsupported, state, timeout, `internal`
  }
  public let kind: Kind
  public let message: String

  public init(_ kind: Kind, _ message: String) {
    self.kind = kind
    self.message = message
  }
  public var description: String { message }

  public static func invalid(_ message: String) -> MedDINOError { .init(.invalid, message) }
  public static func io(_ message: String) -> MedDINOError { .init(.io, message) }
  public static func format(_ message: String) -> MedDINOError { .init(.format, message) }
  public static func shape(_ message: String) -> MedDINOError { .init(.shape, message) }
  public static func unsupported(_ message: String) -> MedDINOError { .init(.unsupported, message) }
  public static func state(_ message: String) -> MedDINOError { .init(.state, message) }
  public static let cancelled = MedDINOError(.cancelled, "cancelled by the caller")

  /// The same error with `context: ` before its message, for errors that pass through a file or an argument with a name.
  public func within(_ context: String) -> MedDINOError { .init(kind, "\(context): \(message)") }
}
