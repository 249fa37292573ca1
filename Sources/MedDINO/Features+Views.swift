internal import Glibc
public import Imaging
internal import Networks
public import Platform
internal import Tensors

extension Features {
  /// Colours of the first three principal components of the last block's tokens: one range over all three maps to 0...255.
  ///
  /// mask: a volume on the image's grid; patches without a non-zero voxel are left out and black. rgb: uint8, three channels, dims
  /// (columns, rows, slices). Source: model specification 5. Throws: `.shape`, `.outOfMemory`, `.cancelled`.
  public func principalComponents(mask: Volume? = nil, into rgb: Volume, control: RunControl = RunControl()) throws(MedDINOError) {
    try check(rgb, .uint8, channels: 3, name: "rgb")
    if let mask, mask.geometry.dims != geometry.dims {
      throw .shape("mask has dims \(mask.geometry.dims), the image has \(geometry.dims)")
    }
    if let mask { try VolumeCheck.separateMemory(rgb, "rgb", mask, "mask") }
    let used = try usedTokens(mask)
    let buffer = try budget.allocate(max(1, used.count) * channels * MemoryLayout<Float>.size, "tokens for the principal components")
    let rows = buffer.elements(Float.self)
    for (place, at) in used.enumerated() {
      guard let source = token(at.slice, at.index), let base = rows.baseAddress else { continue }
      (base + place * channels).update(from: source, count: channels)
    }
    guard let base = rows.baseAddress else { return }
    let colours = try TokenMaps.colours(base, count: used.count, dim: channels, control: control)
    withExtendedLifetime(buffer) {}
    fill(rgb)
    for (place, at) in used.enumerated() {
      for channel in 0..<3 {
        let scaled = colours[place][channel] * 255
        let address = rgb.address(at.index % columns, at.index / columns, at.slice, channel: channel)
        UnsafeMutableRawPointer(mutating: address).storeBytes(of: UInt8(min(max(scaled.rounded(), 0), 255)), as: UInt8.self)
      }
    }
  }

  private func fill(_ rgb: Volume) {
    for channel in 0..<3 {
      for slice in 0..<slices.count {
        for y in 0..<rows {
          for x in 0..<columns {
            UnsafeMutableRawPointer(mutating: rgb.address(x, y, slice, channel: channel)).storeBytes(of: 0, as: UInt8.self)
          }
        }
      }
    }
  }

  private func usedTokens(_ mask: Volume?) throws(MedDINOError) -> [(slice: Int, index: Int)] {
    var result: [(slice: Int, index: Int)] = []
    for slice in 0..<slices.count {
      for index in 0..<tokensPerSlice where mask.map({ touches($0, slice, index) }) ?? true { result.append((slice, index)) }
    }
    guard result.count >= 3 else { throw .shape("\(result.count) tokens lie in the mask, principal components need at least 3") }
    return result
  }

  /// Whether the voxels under a patch hold anything but zero.
  private func touches(_ mask: Volume, _ slice: Int, _ index: Int) -> Bool {
    let (row, column) = (index / columns, index % columns)
    let dims = geometry.dims
    let ys = row * dims[1] / rows..<max((row + 1) * dims[1] / rows, row * dims[1] / rows + 1)
    let xs = column * dims[0] / columns..<max((column + 1) * dims[0] / columns, column * dims[0] / columns + 1)
    for y in ys where y < dims[1] {
      for x in xs where x < dims[0] && mask.value(x, y, slices.lowerBound + slice) != 0 { return true }
    }
    return false
  }

  /// Cosine similarity of every token of the last block to the mean direction of the tokens under `points`.
  ///
  /// points: LPS millimetres. cosine: float32, dims (columns, rows, slices). Throws: `.invalid` for a point outside, `.shape`.
  public func similarity(to points: [[Double]], into cosine: Volume) throws(MedDINOError) {
    try check(cosine, .float32, channels: 1, name: "cosine")
    guard !points.isEmpty else { throw .invalid("count is 0, at least one point expected") }
    var units: [[Double]] = []
    for (number, point) in points.enumerated() {
      let at = try place(point, number)
      if let token = token(at.slice, at.index) { units.append(TokenMaps.unit(token, channels)) }
    }
    let query = TokenMaps.direction(units, dim: channels)
    for slice in 0..<slices.count {
      for index in 0..<tokensPerSlice {
        guard let token = token(slice, index) else { continue }
        UnsafeMutableRawPointer(mutating: cosine.address(index % columns, index / columns, slice)).storeBytes(
          of: Float(TokenMaps.cosine(token, query)), as: Float.self)
      }
    }
  }

  private func place(_ point: [Double], _ number: Int) throws(MedDINOError) -> (slice: Int, index: Int) {
    guard point.count == 3, point.allSatisfy(\.isFinite), let voxel = geometry.index(of: point) else {
      throw .invalid("points_mm[\(number)] is \(point), expected three finite numbers")
    }
    let rounded = voxel.map { $0.rounded() }
    // Written so that NaN, which extreme origins can give, is outside too.
    for axis in 0..<3 where !(rounded[axis] >= 0 && rounded[axis] < Double(geometry.dims[axis])) {
      throw .invalid("points_mm[\(number)] lies at voxel \(voxel), outside the image \(geometry.dims)")
    }
    let z = Int(rounded[2])
    guard slices.contains(z) else { throw .invalid("points_mm[\(number)] lies in slice \(z), features were made of \(slices)") }
    let row = min(Int((rounded[1] + 0.5) * Double(rows) / Double(geometry.dims[1])), rows - 1)
    let column = min(Int((rounded[0] + 0.5) * Double(columns) / Double(geometry.dims[0])), columns - 1)
    return (z - slices.lowerBound, row * columns + column)
  }

  private func check(_ volume: Volume, _ dtype: DType, channels: Int, name: String) throws(MedDINOError) {
    let expected = [columns, rows, slices.count]
    guard volume.geometry.dims == expected else { throw .shape("\(name) has dims \(volume.geometry.dims), the token grid is \(expected)") }
    guard volume.dtype == dtype, volume.channels == channels else {
      throw .shape("\(name) is \(volume.dtype.rawValue) with \(volume.channels) channels, expected \(dtype.rawValue) with \(channels)")
    }
    do throws(MedDINOError) { try VolumeCheck.separateVoxels(volume) } catch { throw MedDINOError(error.kind, "\(name).\(error.message)") }
  }
}
