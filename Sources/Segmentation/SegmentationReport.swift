internal import Imaging
internal import Platform

/// What a run found: how much of every label, and what looked odd about the input.
public struct SegmentationReport: Equatable, Sendable {
  /// How much of one label was found. Units: millilitres from the voxel size.
  public struct Label: Equatable, Sendable {
    public var value: Int
    public var name: String
    public var voxels: Int
    public var millilitres: Double
    /// A voxel of it lies on the outermost layer of the volume, so that a part of it may be missing.
    public var touchesBorder: Bool
    public init(value: Int, name: String, voxels: Int, millilitres: Double, touchesBorder: Bool) {
      self.value = value
      self.name = name
      self.voxels = voxels
      self.millilitres = millilitres
      self.touchesBorder = touchesBorder
    }
  }
  /// One per value that the model can write, absent ones included.
  public var labels: [Label]
  /// One line each.
  public var warnings: [String]
  public init(labels: [Label], warnings: [String]) {
    self.labels = labels
    self.warnings = warnings
  }
}

/// Looks for signs that an image is not what the model was trained on.
enum InputWarnings {
  static func all(_ scan: CaseScan, _ source: CaseChannels, _ configuration: Plan.Configuration) -> [String] {
    var result: [String] = []
    for (index, found) in scan.channels.enumerated() {
      if found.nonFinite > 0 {
        result.append("channel \(index): \(found.nonFinite) voxels are NaN or infinite and were read as \(short(found.lowest))")
      }
      if configuration.normalization[index] == .ct { result += intensities(index, found) }
    }
    result += geometry(source.geometry)
    result += spacing(source.grid.spacing, configuration)
    return result
  }

  static func intensities(_ index: Int, _ found: CaseScan.Channel) -> [String] {
    let range = "channel \(index): values \(short(found.lowest)) to \(short(found.highest))"
    if found.distinctValues < 3 {
      return ["channel \(index): only \(found.distinctValues) different value\(found.distinctValues == 1 ? "" : "s"), which is no CT image"]
    }
    if found.lowest >= -1, found.highest <= 1 { return ["\(range) look normalised already, expected Hounsfield units"] }
    if found.lowest >= 0, found.highest <= 255 { return ["\(range) look like an 8-bit picture, expected Hounsfield units"] }
    if found.lowest >= 0 {
      return ["\(range) have nothing below 0: stored values without their rescale intercept? Expected Hounsfield units"]
    }
    if found.lowest < -32768 || found.highest > 65535 { return ["\(range) are far outside Hounsfield units"] }
    return []
  }

  static func geometry(_ geometry: Geometry) -> [String] {
    let d = geometry.direction
    guard d.count == 9 else { return ["direction has \(d.count) numbers, expected 9"] }
    var worst = 0.0
    for a in 0..<3 {
      for b in 0..<3 {
        let product = d[a] * d[b] + d[3 + a] * d[3 + b] + d[6 + a] * d[6 + b]
        let error = (product - (a == b ? 1 : 0)).magnitude
        worst = error.isNaN ? .infinity : max(worst, error)
      }
    }
    return worst > 1e-3 ? ["direction is not orthonormal (off by \(DecimalText.fixed(worst, digits: 4)))"] : []
  }

  /// `spacing`: in case axes.
  static func spacing(_ spacing: [Double], _ configuration: Plan.Configuration) -> [String] {
    var result: [String] = []
    let text = spacing.map { DecimalText.fixed($0, digits: 3) }.joined(separator: " × ")
    let smallest = spacing.min() ?? 1
    let largest = spacing.max() ?? 1
    if smallest < 0.1 || largest > 20 { result.append("spacing \(text) mm is unusual, expected 0.1 to 20 mm: are the units mm?") }
    if largest / smallest > 10 { result.append("spacing \(text) mm is very anisotropic, more than 10 to 1") }
    for axis in 0..<2 {
      let ratio = spacing[axis + 1] / configuration.spacing[axis]
      if ratio > 3 || ratio < 1.0 / 3 {
        let planned = DecimalText.fixed(configuration.spacing[axis], digits: 3)
        let got = DecimalText.fixed(spacing[axis + 1], digits: 3)
        result.append("slice spacing \(got) mm differs more than 3 times from the plan's \(planned) mm")
        break
      }
    }
    return result
  }

  private static func short(_ value: Float) -> String {
    value.rounded() == value && value.magnitude < 1e7 ? String(Int(value)) : "\(value)"
  }
}
