public import Platform

extension VolumeCheck {
  /// Refuses a volume to be written whose voxels share bytes.
  ///
  /// Axes (channels included) must nest: the step of each is at least the bytes that all with smaller steps reach over. This holds for
  /// every permuted, reversed, padded or sliced view of a packed array.
  /// Throws: `.invalid`, naming the strides.
  public static func separateVoxels(_ volume: Volume) throws(MedDINOError) {
    let axes = zip(volume.geometry.dims + [volume.channels], volume.strides + [volume.channelStride]).filter { $0.0 > 1 }
      .map { (count: $0.0, step: $0.1.magnitude) }
    var reach = UInt(volume.dtype.byteCount)
    for axis in axes.sorted(by: { $0.step < $1.step }) {
      guard axis.step >= reach else {
        throw .invalid(
          "strides are \(volume.strides) and the channel stride \(volume.channelStride) over dims \(volume.geometry.dims): voxels share "
            + "bytes, which a result must not")
      }
      let (steps, overflow) = UInt(axis.count - 1).multipliedReportingOverflow(by: axis.step)
      let (sum, carry) = reach.addingReportingOverflow(steps)
      guard !overflow, !carry else { throw .invalid("strides \(volume.strides) times dims \(volume.geometry.dims) do not fit in 64 bits") }
      reach = sum
    }
  }

  /// Refuses two volumes whose memory overlaps, each counted from its lowest to its highest byte.
  /// Throws: `.invalid`, naming both.
  public static func separateMemory(_ a: Volume, _ nameOfA: String, _ b: Volume, _ nameOfB: String) throws(MedDINOError) {
    let (first, second) = (try memory(of: a), try memory(of: b))
    guard first.upperBound <= second.lowerBound || second.upperBound <= first.lowerBound else {
      throw .invalid("\(nameOfA) overlaps the memory of \(nameOfB), expected a buffer of its own")
    }
  }

  /// Addresses from the lowest to past the highest voxel.
  private static func memory(of volume: Volume) throws(MedDINOError) -> Range<UInt> {
    let reach = try extent(
      dtype: volume.dtype, dims: volume.geometry.dims, channels: volume.channels, strides: volume.strides,
      channelStride: volume.channelStride)
    let base = UInt(bitPattern: volume.base)
    let low = base &+ UInt(bitPattern: reach.lowerBound)
    let (high, overflow) = low.addingReportingOverflow(UInt(reach.count))
    guard !overflow else { throw .invalid("the voxels reach past the end of all memory") }
    return low..<high
  }
}
