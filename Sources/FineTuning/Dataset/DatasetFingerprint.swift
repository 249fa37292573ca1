public import Platform
public import WeightFiles

/// What planning needs to know of a dataset. Arrays are in file order z, y, x, not transposed.
///
/// Source: pipeline specification 2.
public struct DatasetFingerprint: Equatable, Sendable {
  /// Foreground intensities of one channel over all cases, each case with equal weight.
  public struct Intensities: Equatable, Sendable {
    public var max, mean, median, min, percentile005, percentile995, std: Double
    public init(max: Double, mean: Double, median: Double, min: Double, percentile005: Double, percentile995: Double, std: Double) {
      self.max = max
      self.mean = mean
      self.median = median
      self.min = min
      self.percentile005 = percentile005
      self.percentile995 = percentile995
      self.std = std
    }
  }
  /// Units: mm. One per case, in the order of sorted identifiers.
  public var spacings: [[Double]]
  public var shapesAfterCrop: [[Int]]
  /// One per channel.
  public var intensities: [Intensities]
  public var medianRelativeSizeAfterCropping: Double

  public init(
    spacings: [[Double]], shapesAfterCrop: [[Int]], intensities: [Intensities], medianRelativeSizeAfterCropping: Double
  ) {
    self.spacings = spacings
    self.shapesAfterCrop = shapesAfterCrop
    self.intensities = intensities
    self.medianRelativeSizeAfterCropping = medianRelativeSizeAfterCropping
  }

  /// As nnU-Net writes it.
  public var json: JSON {
    .object(
      ("foreground_intensity_properties_per_channel", intensitiesJSON),
      ("median_relative_size_after_cropping", .number(medianRelativeSizeAfterCropping)),
      ("shapes_after_crop", .array(shapesAfterCrop.map(JSON.integers))),
      ("spacings", .array(spacings.map(JSON.numbers))))
  }
  var intensitiesJSON: JSON {
    .object(
      JSONObject(
        intensities.enumerated().map { index, channel in
          (
            String(index),
            .object(
              ("max", .number(channel.max)), ("mean", .number(channel.mean)), ("median", .number(channel.median)),
              ("min", .number(channel.min)), ("percentile_00_5", .number(channel.percentile005)),
              ("percentile_99_5", .number(channel.percentile995)), ("std", .number(channel.std)))
          )
        }))
  }

  /// Whether a distance of voxels can be planned with. Units: mm.
  static func isSpacing(_ value: Double) -> Bool { value > 0 && value < 1e9 }

  /// Throws: `.format` naming the key that is missing or wrong.
  public init(_ json: JSON) throws(MedDINOError) {
    func rows(_ key: String) throws(MedDINOError) -> [[Double]] {
      let rows = (json[key]?.arrayValue ?? []).map { ($0.arrayValue ?? []).compactMap(\.doubleValue) }
      guard !rows.isEmpty, rows.allSatisfy({ $0.count == 3 && $0.allSatisfy(Self.isSpacing) }) else {
        throw .format("\(key) is missing or not a list of three positive numbers per case")
      }
      return rows
    }
    spacings = try rows("spacings")
    shapesAfterCrop = try rows("shapes_after_crop").map { $0.map { Int($0) } }
    guard spacings.count == shapesAfterCrop.count else {
      throw .format("spacings has \(spacings.count) entries, shapes_after_crop \(shapesAfterCrop.count)")
    }
    guard let size = json["median_relative_size_after_cropping"]?.doubleValue else {
      throw .format("median_relative_size_after_cropping is missing or no number")
    }
    medianRelativeSizeAfterCropping = size
    let key = "foreground_intensity_properties_per_channel"
    guard let channels = json[key]?.objectValue else { throw .format("\(key) is missing or no object") }
    intensities = []
    for index in channels.entries.indices {
      func number(_ field: String) throws(MedDINOError) -> Double {
        guard let value = channels[String(index)]?[field]?.doubleValue else {
          throw .format("\(key): channel \(index): \(field) is missing or no number")
        }
        return value
      }
      intensities.append(
        try Intensities(
          max: number("max"), mean: number("mean"), median: number("median"), min: number("min"),
          percentile005: number("percentile_00_5"), percentile995: number("percentile_99_5"), std: number("std")))
    }
  }

  /// Reads `dataset_fingerprint.json`. Throws: `.io`, `.format`.
  public init(file path: String) throws(MedDINOError) {
    let json = try JSON.parse(InputFile.contents(path), source: path)
    do { try self.init(json) } catch { throw error.within(path) }
  }
}
