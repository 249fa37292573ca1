public import Platform
public import Tensors

/// Turns an axial slice into patch tokens: a backbone with its normalisation of pixels.
public protocol DenseEncoder {
  var patchSize: Int { get }
  /// Patch tokens after the final norm, [grid.rows · grid.columns, dim] float32, of a slice [rows, columns] float32.
  ///
  /// Units of the slice: Hounsfield. Throws: `.invalid` for features that are no finite numbers, `.outOfMemory`, `.cancelled`.
  func patchTokens(_ slice: Tensor, _ grid: PatchGrid, control: RunControl) throws(MedDINOError) -> Tensor
}

/// How a slice lies under a grid of patches.
public struct PatchGrid: Equatable, Sendable {
  public let rows: Int
  public let columns: Int
  public let patchSize: Int
  /// Pixels the slice is resized to.
  public var height: Int { rows * patchSize }
  public var width: Int { columns * patchSize }

  /// The slice's own size, or one whose longer side is `longestSide`, each side rounded up to whole patches.
  public init(rows: Int, columns: Int, patchSize: Int, longestSide: Int? = nil) {
    let longest = max(rows, columns, 1)
    func patches(_ extent: Int) -> Int {
      let pixels = longestSide.map { max(1, (extent * $0 + longest / 2) / longest) } ?? extent
      return max(1, (pixels + patchSize - 1) / patchSize)
    }
    (self.rows, self.columns, self.patchSize) = (patches(rows), patches(columns), patchSize)
  }
}

/// One labelled axial slice.
public struct LabelledSlice: Sendable {
  /// Which case it is of, counted from 0; slices of one case follow each other from one end to the other.
  public let caseNumber: Int
  /// float32 [rows, columns]. Units: Hounsfield.
  public let pixels: Tensor
  /// int16 [rows, columns]: classes, 0 is background; -1 is left out of training and evaluation.
  public let classes: Tensor

  /// Throws: `.shape` when both do not have the same rows and columns.
  public init(caseNumber: Int, pixels: Tensor, classes: Tensor) throws(MedDINOError) {
    guard pixels.shape.rank == 2, pixels.dtype == .float32, pixels.shape == classes.shape, classes.dtype == .int16, pixels.count > 0 else {
      throw .shape(
        "a labelled slice is \(pixels.dtype) \(pixels.shape) with labels \(classes.dtype) \(classes.shape), expected float32 and int16 "
          + "[rows, columns] of equal size")
    }
    (self.caseNumber, self.pixels, self.classes) = (caseNumber, pixels, classes)
  }
  public var rows: Int { pixels.shape[0] }
  public var columns: Int { pixels.shape[1] }
}

/// The labelled slices that backbones are probed with.
public struct LabelledSlices: Sendable {
  /// Labels that a probe can tell apart.
  public static let largestCount = 4095
  /// Names of the classes from 1 on.
  public let labels: [String]
  public let slices: [LabelledSlice]

  /// Throws: `.invalid` without labels, for fewer than two slices, or classes outside.
  public init(labels: [String], slices: [LabelledSlice]) throws(MedDINOError) {
    guard (1...Self.largestCount).contains(labels.count) else {
      throw .invalid("labels are \(labels.count), expected 1 to \(Self.largestCount)")
    }
    guard slices.count >= 2 else {
      throw .invalid("labelled slices are \(slices.count), expected at least 2: some to learn from, some to be tested with")
    }
    for slice in slices {
      let classes = slice.classes.elements(Int16.self)
      let isValid = classes.allSatisfy { (-1...Int16(labels.count)).contains($0) }
      withExtendedLifetime(slice.classes) {}
      guard isValid else { throw .invalid("a slice holds a class that is not -1 to \(labels.count)") }
    }
    (self.labels, self.slices) = (labels, slices)
  }
  /// With the background.
  public var classCount: Int { labels.count + 1 }
}
