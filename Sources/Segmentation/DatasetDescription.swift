public import Platform
public import WeightFiles

/// What `dataset.json` says: input channels, labels in declaration order, file names.
///
/// Source: pipeline specification 1.3.
public struct DatasetDescription: Equatable, Sendable {
  /// One entry of `labels`: a value, or the values that together form a region.
  public struct Label: Equatable, Sendable {
    public let name: String
    public let values: [Int]
    /// Declared as a list, even if it has one element.
    public let isList: Bool
    public init(name: String, values: [Int], isList: Bool) {
      self.name = name
      self.values = values
      self.isList = isList
    }
  }
  public let name: String
  /// Names by channel index: "CT" is what chooses CT normalisation.
  public let channelNames: [String]
  /// All entries but `ignore`, in declaration order.
  public let labels: [Label]
  public let ignoreLabel: Int?
  public let regionsClassOrder: [Int]?
  public let fileEnding: String
  /// Reader named by `overwrite_image_reader_writer`, nil when unset.
  public let readerOverride: String?
  public let trainingCases: Int?

  /// Throws: `.format` naming the key that breaks a rule.
  public init(
    channelNames: [String], labels: [Label], ignoreLabel: Int? = nil, regionsClassOrder: [Int]? = nil,
    fileEnding: String = ".nii.gz", readerOverride: String? = nil, trainingCases: Int? = nil, name: String = ""
  ) throws(MedDINOError) {
    self.name = name
    self.channelNames = channelNames
    self.labels = labels
    self.ignoreLabel = ignoreLabel
    self.regionsClassOrder = regionsClassOrder
    self.fileEnding = fileEnding
    self.readerOverride = readerOverride
    self.trainingCases = trainingCases
    _ = try LabelScheme(self)
  }

  /// Reads the JSON text of a `dataset.json`; `source` names it in errors.
  public static func parse(_ bytes: [UInt8], source: String = "dataset.json") throws(MedDINOError) -> DatasetDescription {
    let json = try JSON.parse(bytes, source: source)
    do { return try DatasetDescription(json) } catch { throw error.within(source) }
  }

  /// Throws: `.format` naming the key that is missing or breaks a rule.
  public init(_ json: JSON) throws(MedDINOError) {
    guard let root = json.objectValue else { throw .format("not a JSON object") }
    guard let channels = (root["channel_names"] ?? root["modality"])?.objectValue else {
      throw .format("channel_names is missing or not an object of names by channel index")
    }
    guard let declared = root["labels"]?.objectValue else { throw .format("labels is missing or not an object") }
    var labels: [Label] = []
    var ignore: Int?
    for (name, value) in declared.entries {
      let label = try Self.label(name, value)
      if name == "ignore" {
        guard !label.isList else { throw .format("labels: ignore is a list, expected one integer") }
        ignore = label.values[0]
      } else {
        labels.append(label)
      }
    }
    let override = root["overwrite_image_reader_writer"]?.stringValue
    try self.init(
      channelNames: Self.channelNames(channels), labels: labels, ignoreLabel: ignore,
      regionsClassOrder: Self.order(root["regions_class_order"]), fileEnding: Self.ending(root["file_ending"]),
      readerOverride: override == "None" ? nil : override, trainingCases: root["numTraining"]?.intValue,
      name: root["name"]?.stringValue ?? "")
  }

  private static func channelNames(_ object: JSONObject) throws(MedDINOError) -> [String] {
    var names = [String?](repeating: nil, count: object.entries.count)
    for (key, value) in object.entries {
      guard let index = Int(key), names.indices.contains(index), let name = value.stringValue else {
        throw .format("channel_names: entry \"\(key)\", expected keys \"0\" to \"\(names.count - 1)\" with names as values")
      }
      names[index] = name
    }
    let found = names.compactMap { $0 }
    guard found.count == names.count, !found.isEmpty else { throw .format("channel_names is empty or names a channel twice") }
    return found
  }

  private static func label(_ name: String, _ value: JSON) throws(MedDINOError) -> Label {
    let isList = value.arrayValue != nil
    var values: [Int] = []
    for item in value.arrayValue ?? [value] {
      guard let number = wholeNumber(item), (0...65535).contains(number) else {
        throw .format("labels: \(name) holds something else than integers from 0 to 65535")
      }
      values.append(number)
    }
    guard !values.isEmpty else { throw .format("labels: \(name) is an empty list") }
    return Label(name: name, values: values, isList: isList)
  }

  private static func order(_ json: JSON?) throws(MedDINOError) -> [Int]? {
    guard let json, json != .null else { return nil }
    guard let items = json.arrayValue else { throw .format("regions_class_order is not a list of integers") }
    var result: [Int] = []
    for item in items {
      guard let number = wholeNumber(item) else { throw .format("regions_class_order is not a list of integers") }
      result.append(number)
    }
    return result
  }

  private static func ending(_ json: JSON?) throws(MedDINOError) -> String {
    guard let json else { return ".nii.gz" }
    guard let text = json.stringValue, !text.isEmpty, !text.contains("/") else {
      throw .format("file_ending is not a file name ending like \".nii.gz\"")
    }
    return text
  }

  private static func wholeNumber(_ json: JSON) -> Int? {
    if let value = json.intValue { return value }
    return json.doubleValue.flatMap { Int(exactly: $0) }
  }
}
