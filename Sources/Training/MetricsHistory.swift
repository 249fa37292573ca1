public import Platform
public import WeightFiles

/// What was measured after one step or one epoch.
public struct MetricsRecord: Equatable, Sendable {
  public enum Kind: String, Sendable { case step, epoch }
  public var kind: Kind
  /// Steps of the whole run made so far.
  public var step: Int
  /// Number of the epoch that the step belongs to, from 0.
  public var epoch: Int
  /// In the order in which they are shown.
  public var values: JSONObject

  public init(_ kind: Kind, step: Int, epoch: Int, values: JSONObject = JSONObject()) {
    self.kind = kind
    self.step = step
    self.epoch = epoch
    self.values = values
  }

  private static let ownKeys = ["kind", "step", "epoch"]

  /// One flat object: kind, step, epoch, then the values.
  public var json: JSON {
    var object = JSONObject([("kind", .string(kind.rawValue)), ("step", .integer(step)), ("epoch", .integer(epoch))])
    for entry in values.entries where !Self.ownKeys.contains(entry.key) { object[entry.key] = entry.value }
    return .object(object)
  }

  /// Throws: `.format` when kind, step or epoch is missing.
  public init(_ json: JSON, source: String) throws(MedDINOError) {
    guard let object = json.objectValue, let kind = object["kind"]?.stringValue.flatMap(Kind.init(rawValue:)),
      let step = object["step"]?.intValue, let epoch = object["epoch"]?.intValue
    else { throw .format("\(source): a record of metrics is \(json.text().prefix(80)), expected an object with kind, step and epoch") }
    self.init(kind, step: step, epoch: epoch)
    for entry in object.entries where !Self.ownKeys.contains(entry.key) { values[entry.key] = entry.value }
  }
}

/// The records of a run that stay in memory and in checkpoints; of a long run those of epochs, or every nth step.
public struct MetricsHistory: Equatable, Sendable {
  public private(set) var records: [MetricsRecord] = []
  public init() {}
  public mutating func append(_ record: MetricsRecord) { records.append(record) }

  /// The values of one name over the records that have it as a number. Units: x is the epoch, or the step for records of steps.
  public func series(_ name: String, _ kind: MetricsRecord.Kind = .epoch) -> [(x: Int, y: Double)] {
    records.compactMap { record in
      guard record.kind == kind, let value = record.values[name]?.doubleValue else { return nil }
      return (kind == .epoch ? record.epoch : record.step, value)
    }
  }
  public func last(_ name: String, _ kind: MetricsRecord.Kind = .epoch) -> Double? { series(name, kind).last?.y }

  public var json: JSON { .array(records.map(\.json)) }
  /// Throws: `.format`.
  public init(_ json: JSON, source: String) throws(MedDINOError) {
    guard let values = json.arrayValue else { throw .format("\(source): the metrics' history is not a list") }
    for value in values { records.append(try MetricsRecord(value, source: source)) }
  }
}
