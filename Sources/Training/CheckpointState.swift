internal import Platform
public import WeightFiles

/// Everything a training run needs to go on besides its tensors.
public struct CheckpointState: Equatable, Sendable {
  /// What the tensors belong to; a checkpoint is restored only into an equal one.
  public var architecture: JSON
  /// Steps made so far: the position in schedules by step, and part of the key of every random number.
  public var step = 0
  /// The epoch that is next or under way: the position in schedules by epoch.
  public var epoch = 0
  /// Key of the run's `CounterRandom`.
  public var seed: UInt64 = 0
  /// Further counters of random streams, by purpose.
  public var counters: [String: UInt64] = [:]
  /// Number of the next batch of the training loader.
  public var dataPosition = 0
  public var history = MetricsHistory()
  /// Best score and epochs since then.
  public var earlyStop = EarlyStop()
  /// The owner's own state.
  public var owner: JSON = .null
  public init(architecture: JSON) { self.architecture = architecture }

  /// Grows when an older reader could no longer continue a newer file.
  static let version = 1
  /// No run counts further; a damaged file may say anything, and arithmetic with it must not overflow.
  static let counts = 0...1 << 53
  /// A counter of a checkpoint; nil when it cannot be one.
  public static func count(_ json: JSON?) -> Int? { json?.intValue.flatMap { counts.contains($0) ? $0 : nil } }

  var json: JSON {
    let counts = counters.sorted { $0.key < $1.key }.map { ($0.key, JSON.string(String($0.value))) }
    return .object(
      ("architecture", architecture), ("step", .integer(step)), ("epoch", .integer(epoch)), ("seed", .string(String(seed))),
      ("counters", .object(JSONObject(counts))), ("data_position", .integer(dataPosition)), ("early_stop", earlyStop.state),
      ("history", history.json), ("owner", owner))
  }

  init(_ json: JSON, source: String) throws(MedDINOError) {
    func count(_ key: String) throws(MedDINOError) -> Int {
      guard let value = Self.count(json[key]) else {
        throw .format("\(source): checkpoint \(key) is \(json[key]?.text() ?? "missing"), expected a whole number of 0 to 2^53")
      }
      return value
    }
    guard let architecture = json["architecture"], let owner = json["owner"] else {
      throw .format("\(source): checkpoint without architecture or owner")
    }
    self.init(architecture: architecture)
    self.owner = owner
    step = try count("step")
    epoch = try count("epoch")
    dataPosition = try count("data_position")
    guard let seed = json["seed"]?.stringValue.flatMap({ UInt64($0) }), let counters = json["counters"]?.objectValue else {
      throw .format("\(source): checkpoint without seed or counters")
    }
    self.seed = seed
    for entry in counters.entries {
      guard let value = entry.value.stringValue.flatMap({ UInt64($0) }) else {
        throw .format("\(source): checkpoint counter \"\(entry.key)\" is \(entry.value.text()), expected a whole number as text")
      }
      self.counters[entry.key] = value
    }
    history = try MetricsHistory(json["history"] ?? .null, source: source)
    guard earlyStop.restore(json["early_stop"] ?? .null) else { throw .format("\(source): checkpoint without early_stop") }
  }

  /// The first difference between two trees as "path is a, expected b"; nil when they are equal.
  static func difference(_ got: JSON, _ expected: JSON, path: String = "architecture") -> String? {
    if got == expected { return nil }
    if let a = got.objectValue, let b = expected.objectValue {
      for key in b.keys + a.keys.filter({ b[$0] == nil }) where a[key] != b[key] {
        return difference(a[key] ?? .null, b[key] ?? .null, path: path + "." + key)
      }
    }
    return "\(path) is \(got.text().prefix(80)), expected \(expected.text().prefix(80))"
  }
}
