internal import Platform

/// Something about a dataset that training cannot live with, in one line.
public struct DatasetProblem: Error, Equatable, Sendable, CustomStringConvertible {
  public enum Kind: String, Sendable, CaseIterable {
    /// `dataset.json` breaks a rule.
    case description
    case trainingCount = "training count"
    case noCases = "no cases"
    case singleCase = "single case"
    case missingChannel = "missing channel"
    case missingLabel = "missing label"
    case unreadable
    case shape
    case spacing
    case nonFinite = "not finite"
    case unknownLabel = "unknown label"
    case emptyForeground = "empty foreground"
  }
  public let kind: Kind
  /// nil when it concerns the dataset as a whole.
  public let identifier: String?
  public let message: String

  public init(_ kind: Kind, case identifier: String? = nil, _ message: String) {
    self.kind = kind
    self.identifier = identifier
    self.message = message
  }
  public var description: String { identifier.map { "case \($0): \(message)" } ?? message }
}

extension DatasetProblem {
  /// Throws: `.format` naming up to `limit` problems in one line; nothing when there are none.
  static func require(none problems: [DatasetProblem], _ dataset: String, limit: Int) throws(MedDINOError) {
    guard !problems.isEmpty else { return }
    if problems.count == 1 { throw .format("dataset \(dataset): \(problems[0].description)") }
    var lines = problems.prefix(limit).map(\.description)
    if problems.count > limit { lines.append("and \(problems.count - limit) more") }
    throw .format("dataset \(dataset): \(problems.count) problems: " + lines.joined(separator: "; "))
  }
}
