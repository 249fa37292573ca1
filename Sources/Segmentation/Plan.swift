public import Platform
public import WeightFiles

/// What `plans.json` says: axis order, intensity statistics, and the configurations a model may be run with.
///
/// Configurations are resolved when asked for, so that one we do not support does not spoil the file.
/// Source: pipeline specification 3.5.
public struct Plan: Equatable, Sendable {
  /// Foreground intensities of the training set, per channel.
  public struct IntensityProperties: Equatable, Sendable {
    public var mean: Double
    public var std: Double
    public var percentile005: Double
    public var percentile995: Double
    public init(mean: Double, std: Double, percentile005: Double, percentile995: Double) {
      self.mean = mean
      self.std = std
      self.percentile005 = percentile005
      self.percentile995 = percentile995
    }
  }
  public let datasetName: String
  public let plansName: String
  /// Name of the reader class, for example "SimpleITKIO"; it fixes the voxel order of files.
  public let imageReader: String
  /// New axis i is old axis transposeForward[i] of the array (z, y, x).
  public let transposeForward: [Int]
  public let transposeBackward: [Int]
  /// By channel index; nil where the plan has none.
  public let intensityProperties: [IntensityProperties?]
  let declared: JSONObject

  public var configurationNames: [String] { declared.entries.map { $0.0 } }

  /// Reads the JSON text of a plans file; `source` names it in errors.
  public static func parse(_ bytes: [UInt8], source: String = "plans.json") throws(MedDINOError) -> Plan {
    let json = try JSON.parse(bytes, source: source)
    do { return try Plan(json) } catch { throw error.within(source) }
  }

  /// Throws: `.format` naming the key that is missing or wrong.
  public init(_ json: JSON) throws(MedDINOError) {
    guard let root = json.objectValue else { throw .format("not a JSON object") }
    guard let configurations = root["configurations"]?.objectValue, !configurations.entries.isEmpty else {
      throw .format("configurations is missing or empty")
    }
    declared = configurations
    datasetName = root["dataset_name"]?.stringValue ?? ""
    plansName = root["plans_name"]?.stringValue ?? "nnUNetPlans"
    imageReader = try Self.reader(root["image_reader_writer"])
    transposeForward = try Self.permutation(root["transpose_forward"], "transpose_forward")
    transposeBackward = try Self.permutation(root["transpose_backward"], "transpose_backward")
    for axis in 0..<3 where transposeForward[transposeBackward[axis]] != axis {
      throw .format("transpose_backward is \(transposeBackward), which does not undo transpose_forward \(transposeForward)")
    }
    intensityProperties = try Self.properties(root["foreground_intensity_properties_per_channel"])
  }

  private static func reader(_ json: JSON?) throws(MedDINOError) -> String {
    guard let json, json != .null else { return "SimpleITKIO" }
    guard let name = json.stringValue else { throw .format("image_reader_writer is \(json.text()), expected a name") }
    return name
  }

  private static func permutation(_ json: JSON?, _ key: String) throws(MedDINOError) -> [Int] {
    guard let items = json?.arrayValue else { throw .format("\(key) is missing or not a list") }
    let axes = items.compactMap(\.intValue)
    guard items.count == 3, axes.sorted() == [0, 1, 2] else {
      throw .format("\(key) is not a permutation of 0, 1, 2")
    }
    return axes
  }

  private static func properties(_ json: JSON?) throws(MedDINOError) -> [IntensityProperties?] {
    guard let json, json != .null else { return [] }
    let key = "foreground_intensity_properties_per_channel"
    guard let channels = json.objectValue else { throw .format("\(key) is not an object by channel index") }
    var result: [IntensityProperties?] = []
    for (name, value) in channels.entries {
      guard let index = Int(name), (0..<1024).contains(index) else {
        throw .format("\(key): key \"\(name)\", expected a channel index")
      }
      while result.count <= index { result.append(nil) }
      func number(_ field: String) throws(MedDINOError) -> Double {
        guard let number = value[field]?.doubleValue, number.magnitude <= Double(Float.greatestFiniteMagnitude) else {
          throw .format("\(key): channel \(index): \(field) is missing or not a finite number")
        }
        return number
      }
      result[index] = try IntensityProperties(
        mean: number("mean"), std: number("std"), percentile005: number("percentile_00_5"),
        percentile995: number("percentile_99_5"))
    }
    return result
  }
}
