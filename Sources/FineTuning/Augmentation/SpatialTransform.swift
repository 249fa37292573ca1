internal import Imaging
public import Platform
public import Tensors
internal import Glibc

/// Rotation and zoom about the middle, into an output of the patch's size. No elastic deformation in 2D.
///
/// Source: pipeline specification 7.1.
public struct SpatialTransform: Equatable, Sendable {
  public var rotationChance = 0.2
  /// nil: any angle for patches that are nearly square, else 15 degrees either way. Units: radians.
  public var rotation: ClosedRange<Double>?
  public var scalingChance = 0.2
  /// Same for both axes. Above 1 objects become smaller.
  public var scaling = 0.7...1.4
  public init() {}

  public struct Parameters: Equatable, Sendable {
    /// Units: radians.
    public var angle: Double
    public var scale: Double
    public init(angle: Double = 0, scale: Double = 1) {
      self.angle = angle
      self.scale = scale
    }
  }

  /// nil when neither was drawn: the middle is cut out as it is. Rotation and zoom are independent.
  public func draw(patch: [Int], _ random: inout CounterRandom) -> Parameters? {
    var result = Parameters()
    let turns = random.chance(rotationChance)
    if turns { result.angle = random.uniform(rotation ?? PatchGeometry.rotation(patch)) }
    let zooms = random.chance(scalingChance)
    if zooms { result.scale = random.uniform(scaling) }
    return turns || zooms ? result : nil
  }

  func validate() throws(MedDINOError) {
    try OptionCheck.chance(rotationChance, "rotation probability")
    try OptionCheck.chance(scalingChance, "scaling probability")
    if let rotation { try OptionCheck.range(rotation, "rotation", in: -Double.pi...Double.pi) }
    try OptionCheck.range(scaling, "scaling", in: 0.01...100)
  }

  /// Resamples a sample: images bilinearly with 0 outside, labels by `LabelVote`.
  ///
  /// Shapes: `image` float32 [channels, rows, columns] and `labels` int16 [1, rows, columns] of one size;
  /// `newImage` and `newLabels` the same of another size.
  /// Throws: `.shape` when they do not fit each other, `.outOfMemory`.
  public static func apply(
    _ parameters: Parameters, image: Tensor, labels: Tensor, newImage: Tensor, newLabels: Tensor, workspace: Workspace
  ) throws(MedDINOError) {
    let (from, to) = (try ImagePlanes(image), try ImagePlanes(newImage))
    let (fromLabels, toLabels) = (try LabelPlane(labels), try LabelPlane(newLabels))
    guard from.channels == to.channels, from.rows == fromLabels.rows, from.columns == fromLabels.columns, to.rows == toLabels.rows,
      to.columns == toLabels.columns
    else {
      throw .shape("sample is \(image.shape) with labels \(labels.shape), expected the grids of \(newImage.shape) and \(newLabels.shape)")
    }
    guard max(from.rows, from.columns) < SourceLine.sideLimit else {
      throw .shape("image is \(image.shape), expected sides below \(SourceLine.sideLimit)")
    }
    let line = try SourceLine(from, to, parameters, workspace)
    let vote = LabelVote(fromLabels)
    for row in 0..<to.rows {
      line.find(row)
      for channel in 0..<to.channels { line.interpolate(from.plane(channel), into: to.plane(channel) + row * to.columns) }
      line.vote(vote, into: toLabels.values + row * to.columns)
    }
    withExtendedLifetime((image, labels, newImage, newLabels)) {}
  }
}

/// Where the pixels of one output row come from: the pixel above left and the way to the next one, per axis.
///
/// Positions are found in single precision through coordinates relative to half the size, as the official code does, so that exact halves
/// fall on the same side.
struct SourceLine {
  private let width: Int
  private let sourceRows: Int
  private let sourceColumns: Int
  private let middle: (row: Float, column: Float)
  /// Row vector times matrix: the steps of (row, column) in the source for one row and one column of the output.
  private let rowStep: (row: Float, column: Float)
  private let columnStep: (row: Float, column: Float)
  private let scratch: Tensor
  private let top: UnsafeMutablePointer<Int32>
  private let left: UnsafeMutablePointer<Int32>
  private let down: UnsafeMutablePointer<Float>
  private let right: UnsafeMutablePointer<Float>

  init(_ from: ImagePlanes, _ to: ImagePlanes, _ parameters: SpatialTransform.Parameters, _ workspace: Workspace) throws(MedDINOError) {
    width = to.columns
    sourceRows = from.rows
    sourceColumns = from.columns
    middle = (Float(to.rows - 1) / 2, Float(to.columns - 1) / 2)
    let (c, s, scale) = (cos(parameters.angle), sin(parameters.angle), parameters.scale)
    rowStep = (Float(scale * c), Float(-scale * s))
    columnStep = (Float(scale * s), Float(scale * c))
    scratch = try workspace.tensor("augmentation source line", [4, to.columns], .int32)
    let words = scratch.pointer
    top = words.bindMemory(to: Int32.self, capacity: 2 * width)
    left = top + width
    down = (words + 8 * width).bindMemory(to: Float.self, capacity: 2 * width)
    right = down + width
  }

  /// Finds the sources of output row `row`.
  func find(_ row: Int) {
    let upDown = Float(row) - middle.row
    place(upDown * rowStep.row, columnStep.row, sourceRows, top, down)
    place(upDown * rowStep.column, columnStep.column, sourceColumns, left, right)
  }

  /// Positions along one source axis: `start` plus `step` for each column from the middle.
  private func place(
    _ start: Float, _ step: Float, _ size: Int, _ whole: UnsafeMutablePointer<Int32>, _ rest: UnsafeMutablePointer<Float>
  ) {
    let (first, count) = (middle.column, Int32(truncatingIfNeeded: width))
    var column: Int32 = 0
    while column < count {
      let position = Self.pixel(start + (Float(column) - first) * step, size)
      let (below, part) = Self.split(position, size)
      whole[Int(column)] = below
      rest[Int(column)] = part
      column &+= 1
    }
  }

  @inline(__always) private static func pixel(_ offset: Float, _ size: Int) -> Float {
    let extent = Float(size)
    return ((offset / (extent / 2) + 1) * extent - 1) / 2
  }

  /// Whole pixel below and the rest. Positions far outside become one that is just outside: none of their neighbours is inside either.
  ///
  /// Rounding and conversion go through a sum with 1.5 · 2^23, whose last bits are the whole number: no instruction set needs a call or a
  /// range check for that, so the loop over a line becomes one of vectors.
  @inline(__always) private static func split(_ position: Float, _ size: Int) -> (Int32, Float) {
    let limit = Float(size)
    let near = position > -2 ? (position < limit ? position : limit) : -2
    let nearest = (near + whole) - whole
    let below = nearest > near ? nearest - 1 : nearest
    return (Int32(bitPattern: (below + whole).bitPattern) &- wholeBits, near - below)
  }
  private static let whole: Float = 0x1.8p23
  /// Whole numbers up to here fit into those bits.
  static let sideLimit = 1 << 22
  private static let wholeBits: Int32 = 0x4b40_0000

  /// Bilinear; each neighbour outside counts as 0.
  func interpolate(_ source: UnsafePointer<Float>, into out: UnsafeMutablePointer<Float>) {
    let (rows, columns) = (sourceRows, sourceColumns)
    for column in 0..<width {
      let (y, x) = (Int(top[column]), Int(left[column]))
      let (s, e) = (down[column], right[column])
      let (n, w) = (1 - s, 1 - e)
      if UInt(bitPattern: y) < UInt(bitPattern: rows &- 1), UInt(bitPattern: x) < UInt(bitPattern: columns &- 1) {
        let upper = source + (y &* columns &+ x)
        let lower = upper + columns
        out[column] = upper[0] * (n * w) + upper[1] * (n * e) + lower[0] * (s * w) + lower[1] * (s * e)
      } else {
        func value(_ y: Int, _ x: Int) -> Float {
          y >= 0 && y < rows && x >= 0 && x < columns ? source[y * columns + x] : 0
        }
        out[column] =
          value(y, x) * (n * w) + value(y, x + 1) * (n * e) + value(y + 1, x) * (s * w) + value(y + 1, x + 1) * (s * e)
      }
    }
  }

  func vote(_ vote: LabelVote, into out: UnsafeMutablePointer<Int16>) {
    for column in 0..<width {
      out[column] = vote.label(row: Int(top[column]), column: Int(left[column]), down: down[column], right: right[column])
    }
  }
}
