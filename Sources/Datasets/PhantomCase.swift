internal import Glibc
public import Imaging
public import Platform
public import Tensors

/// One phantom patient on its voxel grid; rendered slice by slice.
public struct PhantomCase: Sendable {
  public let index: Int
  /// The grid as the file stores it.
  public let geometry: Geometry
  public let orientation: PhantomOrientation
  let anatomy: PhantomAnatomy
  private let labelCount: Int
  private let noise: Float
  private let noiseKey: SIMD2<UInt32>
  /// Voxels along left, posterior, superior.
  private let size: [Int]
  /// Body coordinates of voxel (left, posterior, superior) = (0, 0, 0), and what one step along each axis adds.
  private let start: [Double]
  private let steps: [[Double]]

  /// Throws: `.invalid` for options out of range or a negative index.
  public init(index: Int, options: PhantomOptions) throws(MedDINOError) {
    try options.validate()
    guard index >= 0 else { throw .invalid("index is \(index), expected 0 or more") }
    var random = CounterRandom(seed: options.seed, purpose: "phantom.scan", step: UInt64(index))
    let matrix = random.integer(options.matrix)
    let spacing = random.uniform(options.spacing)
    let size = [matrix, matrix, random.integer(options.slices)]
    let spacings = [spacing, spacing, random.uniform(options.sliceSpacing)]
    let tilted = random.chance(options.obliqueChance)
    let tilt = (random.uniform(-9...9), random.uniform(-5...5))
    let grid = tilted ? Self.rotation(x: tilt.0, y: tilt.1, z: 0) : Self.rotation(x: 0, y: 0, z: 0)
    let middle = [random.uniform(-20...20), random.uniform(-180 ... -120), random.uniform(-700 ... -100)]

    // The patient on the table: how large, how turned, where in the picture.
    let scale = (options.bodyScale ?? Self.fittingScale(options)) * random.uniform(0.94...1.06)
    let stretch = (0..<3).map { _ in 1 / (scale * random.uniform(0.97...1.03)) }
    let pose = Self.rotation(x: random.uniform(-3...3), y: random.uniform(-3...3), z: random.uniform(-7...7))
    let covered = spacings[2] * Double(size[2]) / scale
    let play = abs(covered - 400) / 2 + 12
    let shift = [random.uniform(-8...8), random.uniform(-8...8), -5 + random.uniform(-play...play)]

    var start = [0.0, 0.0, 0.0]
    var steps = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    for row in 0..<3 {
      for axis in 0..<3 {
        let turned = (0..<3).reduce(0.0) { $0 + pose[$1 * 3 + row] * grid[$1 * 3 + axis] }
        steps[axis][row] = turned * spacings[axis] * stretch[row]
      }
      let half = (0..<3).reduce(0.0) { $0 + steps[$1][row] * Double(size[$1] - 1) / 2 }
      start[row] = shift[row] - half
    }
    self.index = index
    self.size = size
    self.start = start
    self.steps = steps
    orientation = options.orientations[random.below(options.orientations.count)]
    noise = Float(random.uniform(options.noise))
    noiseKey = SIMD2(random.nextWord(), random.nextWord())
    labelCount = options.labelCount
    anatomy = PhantomAnatomy(options, case: index)
    geometry = Self.stored(size: size, spacing: spacings, grid: grid, middle: middle, orientation)
  }

  /// Labels of organs that this patient has (whether or not the scan covers them).
  public var organsPresent: [Int] {
    anatomy.organs.filter { $0.present && $0.kind.rawValue <= labelCount }.map(\.kind.rawValue).sorted()
  }

  /// Fills an int16 image (HU) and a uint8 label volume of `geometry.dims`; either may be left out.
  ///
  /// The same bits whatever the number of threads. Throws: `.shape` for another grid or type, `.cancelled`.
  public func render(image: Volume?, labels: Volume?, pool: ThreadPool? = nil, control: RunControl? = nil)
    throws(MedDINOError)
  {
    for (volume, type) in [(image, DType.int16), (labels, DType.uint8)] {
      guard let volume, volume.dtype != type || volume.geometry.dims != geometry.dims else { continue }
      throw .shape("volume is \(volume.dtype) \(volume.geometry.dims), expected \(type) \(geometry.dims)")
    }
    let batch = max(1, pool.map { $0.width * 2 } ?? 1)
    for first in stride(from: 0, to: size[2], by: batch) {
      try control?.update(Double(first) / Double(size[2]))
      let count = min(batch, size[2] - first)
      if let pool {
        pool.forEach(count) { renderSlice(first + $0, image, labels) }
      } else {
        renderSlice(first, image, labels)
      }
    }
    try control?.update(1)
  }

  /// Where patient axes lie in a stored volume: address of the patient's first voxel, byte strides along left,
  /// posterior, superior.
  private func placed(_ volume: Volume) -> (base: UnsafeMutableRawPointer, strides: [Int]) {
    var base = volume.mutableBase
    var strides = [0, 0, 0]
    for (axis, (patient, flipped)) in orientation.axes.enumerated() {
      strides[patient] = flipped ? -volume.strides[axis] : volume.strides[axis]
      if flipped { base += volume.strides[axis] * (volume.geometry.dims[axis] - 1) }
    }
    return (base, strides)
  }

  private func renderSlice(_ z: Int, _ image: Volume?, _ labels: Volume?) {
    let (pixels, marks) = (image.map(placed), labels.map(placed))
    let present = anatomy.organs.enumerated().reduce(UInt32(0)) {
      $1.element.present ? $0 | 1 << UInt32($1.offset) : $0
    }
    anatomy.organs.withUnsafeBufferPointer { organs in
      guard let first = organs.baseAddress else { return }
      for y in 0..<size[1] {
        let row = Row(
          y: y, z: z, organs: first, present: present,
          pixels: pixels.map { ($0.base + y * $0.strides[1] + z * $0.strides[2], $0.strides[0]) },
          marks: marks.map { ($0.base + y * $0.strides[1] + z * $0.strides[2], $0.strides[0]) })
        renderRow(row)
      }
    }
  }

  private struct Row {
    let y: Int
    let z: Int
    let organs: UnsafePointer<BodyOrgan>
    let present: UInt32
    let pixels: (start: UnsafeMutableRawPointer, stride: Int)?
    let marks: (start: UnsafeMutableRawPointer, stride: Int)?
  }

  private func renderRow(_ row: Row) {
    func coordinate(_ axis: Int) -> Float {
      Float(start[axis] + Double(row.y) * steps[1][axis] + Double(row.z) * steps[2][axis])
    }
    let begin = BodyPoint(x: coordinate(0), y: coordinate(1), z: coordinate(2))
    let step = BodyPoint(x: Float(steps[0][0]), y: Float(steps[0][1]), z: Float(steps[0][2]))
    let candidates = candidates(row, from: begin, step)
    var random = SIMD4<UInt32>()
    for x in 0..<size[0] {
      let distance = Float(x)
      let point = BodyPoint(
        x: begin.x + distance * step.x, y: begin.y + distance * step.y, z: begin.z + distance * step.z)
      let (hu, organ) = anatomy.tissue(point, row.organs, candidates: candidates)
      if let (start, stride) = row.marks {
        (start + x * stride).storeBytes(of: organ <= labelCount ? UInt8(truncatingIfNeeded: organ) : 0, as: UInt8.self)
      }
      guard let (start, stride) = row.pixels else { continue }
      if x & 1 == 0 {
        random = CounterRandom.block(
          counter: SIMD4(
            UInt32(truncatingIfNeeded: x), UInt32(truncatingIfNeeded: row.y), UInt32(truncatingIfNeeded: row.z), 0),
          key: noiseKey)
      }
      let grain = x & 1 == 0 ? Self.normal(random[0], random[1]) : Self.normal(random[2], random[3])
      let value = min(max(hu + noise * grain, -1024), 3071).rounded()
      (start + x * stride).storeBytes(of: Int16(value), as: Int16.self)
    }
  }

  /// Organs that a row of voxels may meet, as bits.
  private func candidates(_ row: Row, from begin: BodyPoint, _ step: BodyPoint) -> UInt32 {
    let length = (step.x * step.x + step.y * step.y + step.z * step.z).squareRoot()
    let direction = BodyPoint(x: step.x / length, y: step.y / length, z: step.z / length)
    var left = row.present
    var result: UInt32 = 0
    while left != 0 {
      let place = left.trailingZeroBitCount
      left &= left - 1
      if row.organs[place].mayMeet(line: begin, direction, margin: anatomy.bendReach + 1) {
        result |= 1 << UInt32(place)
      }
    }
    return result
  }

  /// Nearly normal, variance 1: the sum of four uniform 16-bit numbers.
  @inline(__always) private static func normal(_ a: UInt32, _ b: UInt32) -> Float {
    let sum = (a & 0xffff) &+ (a >> 16) &+ (b & 0xffff) &+ (b >> 16)
    return (Float(sum) - 131_070) * (1 / 37_837.2)
  }

  /// The field of view of the middle of the ranges against the 395 mm of an adult's.
  private static func fittingScale(_ options: PhantomOptions) -> Double {
    let matrix = Double(options.matrix.lowerBound + options.matrix.upperBound) / 2
    let spacing = (options.spacing.lowerBound + options.spacing.upperBound) / 2
    return min(1, max(0.02, matrix * spacing / 395))
  }

  /// Row-major rotation about x, then y, then z. Units: degrees.
  private static func rotation(x: Double, y: Double, z: Double) -> [Double] {
    let (cx, sx) = (cos(x * .pi / 180), sin(x * .pi / 180))
    let (cy, sy) = (cos(y * .pi / 180), sin(y * .pi / 180))
    let (cz, sz) = (cos(z * .pi / 180), sin(z * .pi / 180))
    return [
      cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx,
      sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx,
      0 - sy, cy * sx, cy * cx,
    ]
  }

  /// Geometry of the file: axes reordered and flipped, same places in the patient.
  private static func stored(
    size: [Int], spacing: [Double], grid: [Double], middle: [Double], _ orientation: PhantomOrientation
  ) -> Geometry {
    var geometry = Geometry(dims: [0, 0, 0])
    var direction = [Double](repeating: 0, count: 9)
    for (axis, (patient, flipped)) in orientation.axes.enumerated() {
      geometry.dims[axis] = size[patient]
      geometry.spacing[axis] = spacing[patient]
      for row in 0..<3 { direction[row * 3 + axis] = flipped ? 0 - grid[row * 3 + patient] : grid[row * 3 + patient] }
    }
    geometry.direction = direction
    for row in 0..<3 {
      var value = middle[row]
      for axis in 0..<3 {
        value -= direction[row * 3 + axis] * geometry.spacing[axis] * Double(geometry.dims[axis] - 1) / 2
      }
      geometry.origin[row] = value
    }
    return geometry
  }
}
