public import Platform
internal import Segmentation
public import WeightFiles

/// Which cases train and which validate, fold by fold.
///
/// Source: pipeline specification 5.
public struct DatasetSplits: Equatable, Sendable {
  public struct Split: Equatable, Sendable {
    public let train: [String]
    public let validation: [String]
    public init(train: [String], validation: [String]) {
      self.train = train
      self.validation = validation
    }
  }
  /// What a run trains on.
  public enum Fold: Equatable, Sendable, CustomStringConvertible {
    /// Every case, both for training and for validation.
    case all
    case number(Int)
    public var description: String {
      switch self {
      case .all: "all"
      case .number(let number): String(number)
      }
    }
    /// "all" or a number from 0. Throws: `.invalid`.
    public init(_ text: String) throws(MedDINOError) {
      if text == "all" {
        self = .all
      } else if let number = Int(text), number >= 0 {
        self = .number(number)
      } else {
        throw .invalid("fold is \"\(text)\", expected \"all\" or a number from 0")
      }
    }
  }
  public static let standardCount = 5
  private static let seed: UInt32 = 12345
  public let folds: [Split]

  public init(folds: [Split]) { self.folds = folds }

  /// nnU-Net's five folds of the sorted identifiers. Fewer than five cases make one fold each (nnU-Net refuses them).
  /// Throws: `.invalid` for fewer than 2 cases.
  public init(cases identifiers: [String]) throws(MedDINOError) {
    let cases = Self.sorted(identifiers)
    guard cases.count >= 2 else { throw .invalid("\(cases.count) cases cannot be split, expected at least 2") }
    var random = LegacyRandom(seed: Self.seed)
    let order = random.permutation(cases.count)
    let count = min(Self.standardCount, cases.count)
    var folds: [Split] = []
    var start = 0
    for fold in 0..<count {
      let size = cases.count / count + (fold < cases.count % count ? 1 : 0)
      let chosen = Set(order[start..<start + size])
      start += size
      folds.append(
        Split(
          train: cases.indices.filter { !chosen.contains($0) }.map { cases[$0] },
          validation: cases.indices.filter { chosen.contains($0) }.map { cases[$0] }))
    }
    self.folds = folds
  }

  /// The cases of a fold. A number beyond the folds draws four fifths of the cases for training.
  /// Throws: `.invalid` for a case of the fold that is not among `identifiers`, or an empty part.
  public func split(_ fold: Fold, cases identifiers: [String]) throws(MedDINOError) -> Split {
    let cases = Self.sorted(identifiers)
    guard case .number(let number) = fold else { return Split(train: cases, validation: cases) }
    if folds.indices.contains(number) {
      let split = folds[number]
      let known = Set(cases)
      if let stranger = (split.train + split.validation).first(where: { !known.contains($0) }) {
        throw .invalid("splits: fold \(number) names the case \(stranger), which the dataset does not have")
      }
      guard !split.train.isEmpty, !split.validation.isEmpty else {
        throw .invalid("splits: fold \(number) has \(split.train.count) training and \(split.validation.count) validation cases")
      }
      return split
    }
    guard number >= 0, number <= Int(UInt32.max - Self.seed) else { throw .invalid("fold is \(number), expected 0 or more") }
    guard cases.count >= 2 else { throw .invalid("\(cases.count) cases cannot be split, expected at least 2") }
    var random = LegacyRandom(seed: Self.seed + UInt32(number))
    let train = random.permutation(cases.count).prefix(Int(0.8 * Double(cases.count))).map { $0 }
    let chosen = Set(train)
    return Split(train: train.map { cases[$0] }, validation: cases.indices.filter { !chosen.contains($0) }.map { cases[$0] })
  }

  /// As `splits_final.json` has it.
  public var json: JSON {
    .array(
      folds.map { fold in
        .object(("train", .array(fold.train.map(JSON.string))), ("val", .array(fold.validation.map(JSON.string))))
      })
  }

  /// Throws: `.format`.
  public init(_ json: JSON) throws(MedDINOError) {
    guard let entries = json.arrayValue, !entries.isEmpty else { throw .format("not a list of folds") }
    var folds: [Split] = []
    for (index, entry) in entries.enumerated() {
      func names(_ key: String) throws(MedDINOError) -> [String] {
        let items = entry[key]?.arrayValue ?? []
        let names = items.compactMap(\.stringValue)
        guard entry[key]?.arrayValue != nil, names.count == items.count else {
          throw .format("fold \(index): \(key) is missing or not a list of case identifiers")
        }
        return names
      }
      folds.append(try Split(train: names("train"), validation: names("val")))
    }
    self.folds = folds
  }

  /// Reads `splits_final.json`. Throws: `.io`, `.format`.
  public init(file path: String) throws(MedDINOError) {
    let json = try JSON.parse(InputFile.contents(path), source: path)
    do { try self.init(json) } catch { throw error.within(path) }
  }

  private static func sorted(_ identifiers: [String]) -> [String] {
    identifiers.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
  }
}
