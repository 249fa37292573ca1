public import Platform

/// How label values, network outputs and written values hang together.
///
/// Source: pipeline specification 1.3, 10.10.
public struct LabelScheme: Equatable, Sendable {
  /// A group of label values that one network output or one evaluation key stands for.
  public struct Region: Hashable, Sendable, CustomStringConvertible {
    public let name: String
    public let values: [Int]
    /// Declared as a list: its key is a tuple like "(1, 2, 3)" or "(2,)", not a bare number.
    public let isList: Bool
    public init(name: String, values: [Int], isList: Bool) {
      self.name = name
      self.values = values
      self.isList = isList
    }
    public var description: String {
      guard isList else { return String(values[0]) }
      return values.count == 1 ? "(\(values[0]),)" : "(" + values.map(String.init).joined(separator: ", ") + ")"
    }
  }
  /// What one network output becomes in the written labels.
  public struct Output: Equatable, Sendable {
    public let name: String
    public let value: Int
  }
  public let hasRegions: Bool
  /// Every label value but `ignore`, ascending, background included.
  public let allLabels: [Int]
  /// Foreground regions in declaration order; for plain labels one per foreground value, ascending.
  public let foreground: [Region]
  public let ignoreLabel: Int?
  /// One entry per network output, in head order.
  public let heads: [Output]

  public var foregroundLabels: [Int] { allLabels.filter { $0 != 0 } }
  /// The values that can appear in a result apart from 0, without repeats, in head order.
  public var outputs: [Output] {
    var seen: Set<Int> = [0]
    return heads.filter { seen.insert($0.value).inserted }
  }
  public var largestOutput: Int { heads.map(\.value).max() ?? 0 }
  /// The keys of the foreground locations: the foreground, then all annotated labels when there is an ignore label.
  public var locationKeys: [Region] {
    guard ignoreLabel != nil else { return foreground }
    return foreground + [Region(name: "annotated", values: allLabels, isList: true)]
  }

  /// Throws: `.format` naming the rule of `dataset.json` that is broken.
  public init(_ dataset: DatasetDescription) throws(MedDINOError) {
    let labels = dataset.labels
    guard !dataset.channelNames.isEmpty else { throw .format("channel_names is empty") }
    guard let background = labels.first(where: { $0.name == "background" }), background.values == [0], !background.isList else {
      throw .format("labels: background is missing or not 0")
    }
    for label in labels where label.values.isEmpty || label.values.contains(where: { !(0...65535).contains($0) }) {
      throw .format("labels: \(label.name) is empty or has values outside 0 to 65535")
    }
    let all = Set(labels.flatMap(\.values)).sorted()
    guard all == Array(0..<all.count) else {
      throw .format("labels: the values are \(all), expected consecutive ones from 0")
    }
    if let ignore = dataset.ignoreLabel, ignore != all.count {
      throw .format("labels: ignore is \(ignore), expected \(all.count), the largest label + 1")
    }
    allLabels = all
    ignoreLabel = dataset.ignoreLabel
    hasRegions = labels.contains { $0.values.count > 1 }
    if hasRegions {
      foreground = labels.filter { $0.values.contains { $0 != 0 } }.map { Region(name: $0.name, values: $0.values, isList: $0.isList) }
      heads = try Self.regionHeads(foreground, order: dataset.regionsClassOrder)
    } else {
      let named = all.map { value in
        Output(name: labels.first { $0.values == [value] }?.name ?? "label \(value)", value: value)
      }
      foreground = named.filter { $0.value != 0 }.map { Region(name: $0.name, values: [$0.value], isList: false) }
      heads = named
    }
  }

  private static func regionHeads(_ regions: [Region], order: [Int]?) throws(MedDINOError) -> [Output] {
    guard let order else { throw .format("regions_class_order is missing, but labels declare regions") }
    guard order.count == regions.count else {
      throw .format("regions_class_order has \(order.count) entries, expected one per region: \(regions.count)")
    }
    for value in order where !(0...65535).contains(value) {
      throw .format("regions_class_order holds \(value), expected 0 to 65535")
    }
    return zip(regions, order).map { Output(name: $0.name, value: $1) }
  }
}
