/// The default 2D U-Net that nnU-Net would build for a patch. Planning needs it: it rounds the patch and estimates memory.
///
/// Source: pipeline specification 3.3.
public struct UNetTopology: Equatable, Sendable {
  /// Rounded up to a multiple of the divisors.
  public let patchSize: [Int]
  public let poolings: [Int]
  public let strides: [[Int]]
  public let kernels: [[Int]]
  public var stages: Int { strides.count }
  public var divisors: [Int] { poolings.map { 1 << $0 } }
  public var features: [Int] { (0..<stages).map { min(512, 32 << min($0, 8)) } }

  private static let smallestMap = 4.0
  private static let anisotropy = 2.0

  /// `spacing`: [rows, columns] in mm; `patch` may have fractions.
  public init(spacing: [Double], patch: [Double]) {
    var (current, size) = (spacing, patch)
    var poolings = [0, 0]
    var strides = [[1, 1]]
    var kernels: [[Int]] = []
    var kernel = [1, 1]
    // An axis halves until it is below 8, so the loop ends after as many rounds as the patch has bits.
    while true {
      var valid = (0..<2).filter { size[$0] >= 2 * Self.smallestMap }
      guard let finest = valid.map({ current[$0] }).min() else { break }
      valid = valid.filter { current[$0] / finest < Self.anisotropy }
      if valid.isEmpty || valid.count == 1 && size[valid[0]] < 3 * Self.smallestMap { break }
      let least = min(current[0], current[1])
      for axis in 0..<2 where kernel[axis] != 3 && current[axis] / least < Self.anisotropy { kernel[axis] = 3 }
      kernels.append(kernel)
      strides.append((0..<2).map { valid.contains($0) ? 2 : 1 })
      for axis in valid {
        poolings[axis] += 1
        current[axis] *= 2
        size[axis] = (size[axis] / 2).rounded(.up)
      }
    }
    self.poolings = poolings
    self.strides = strides
    self.kernels = kernels + [[3, 3]]
    patchSize = (0..<2).map { axis in
      let divisor = Double(1 << poolings[axis])
      let rest = patch[axis].truncatingRemainder(dividingBy: divisor)
      return Int(rest == 0 ? patch[axis] : patch[axis] + divisor - rest)
    }
  }

  /// Feature map elements of one image: two convolutions per stage and the outputs.
  public func memoryEstimate(outputs: Int) -> Double {
    var sizes: [Double] = []
    var size = patchSize
    for stride in strides {
      size = [size[0] / stride[0], size[1] / stride[1]]
      sizes.append(Double(size[0]) * Double(size[1]))
    }
    var sum = Double(outputs) * sizes[0]
    for stage in 0..<stages {
      let features = Double(features[stage])
      sum += 2 * features * sizes[stage]
      if stage < stages - 1 { sum += 3 * features * sizes[stage] }
    }
    return sum
  }
}
