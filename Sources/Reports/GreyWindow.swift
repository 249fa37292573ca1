public import Imaging

/// Which values of an image are black and white in pictures.
public enum GreyWindow {
  /// For CT in Hounsfield units.
  public static let softTissue: (level: Double, width: Double) = (40, 400)

  /// Soft tissue for CT whose values can be Hounsfield units (some below 0, and not a range of a few units); for anything else the range
  /// between the 1st and 99th percentile of about 50,000 voxels.
  public static func suitable(for image: Volume, isCT: Bool) -> (level: Double, width: Double) {
    let values = samples(image).sorted()
    guard !values.isEmpty else { return softTissue }
    let (low, high) = (values[values.count / 100], values[values.count - 1 - values.count / 100])
    if isCT, low < 0, high - low >= 50 { return softTissue }
    let (level, width) = (low / 2 + high / 2, high - low)
    return width > 0 && width.isFinite ? (level, width) : (level, max(1, level.magnitude * 1e-3))
  }

  /// Finite values of channel 0 on a lattice over the whole volume.
  private static func samples(_ image: Volume) -> [Double] {
    let indices = image.geometry.dims.map { count in Array(stride(from: 0, to: count, by: (count - 1) / 37 + 1)) }
    var result: [Double] = []
    for z in indices[2] {
      for y in indices[1] {
        for x in indices[0] {
          let value = image.value(x, y, z)
          if value.isFinite { result.append(value) }
        }
      }
    }
    return result
  }
}
