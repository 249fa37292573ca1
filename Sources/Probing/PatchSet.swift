internal import Platform
internal import Tensors

/// The patches of one slice: tokens, and what of each patch belongs to which class.
struct PatchSlice {
  /// float32 [patches, dim].
  let tokens: Tensor
  let grid: PatchGrid
  /// Part of each patch's labelled pixels that has each class, [patches · classes].
  let shares: [Float]
  /// Whether at least half of the patch's pixels are labelled.
  let isLabelled: [Bool]

  init(_ slice: LabelledSlice, tokens: Tensor, grid: PatchGrid, classes: Int) {
    let patches = grid.rows * grid.columns
    var counts = [Float](repeating: 0, count: patches * classes)
    var (labelled, all) = ([Float](repeating: 0, count: patches), [Float](repeating: 0, count: patches))
    let values = slice.classes.elements(Int16.self)
    for row in 0..<slice.rows {
      for column in 0..<slice.columns {
        let patch = row * grid.rows / slice.rows * grid.columns + column * grid.columns / slice.columns
        all[patch] += 1
        let value = Int(values[row * slice.columns + column])
        guard value >= 0 else { continue }
        labelled[patch] += 1
        counts[patch * classes + value] += 1
      }
    }
    withExtendedLifetime(slice.classes) {}
    for patch in 0..<patches where labelled[patch] > 0 {
      for index in patch * classes..<(patch + 1) * classes { counts[index] /= labelled[patch] }
    }
    (self.tokens, self.grid, shares) = (tokens, grid, counts)
    // A grid finer than the slice has patches without a pixel of their own.
    isLabelled = (0..<patches).map { all[$0] > 0 && 2 * labelled[$0] >= all[$0] }
  }
}

/// Patches to learn from, one under the other.
struct PatchBank {
  /// float32 [count, dim].
  let tokens: Tensor
  /// [count · classes].
  let shares: [Float]
  let count: Int
  let classes: Int

  /// Every nth labelled patch of the slices, so that there are at most `limit`. Throws: `.invalid` without one, `.outOfMemory`.
  init(_ slices: [PatchSlice], classes: Int, limit: Int, in budget: MemoryBudget) throws(MedDINOError) {
    var places: [(slice: Int, patch: Int)] = []
    for (slice, patches) in slices.enumerated() {
      for patch in patches.isLabelled.indices where patches.isLabelled[patch] { places.append((slice, patch)) }
    }
    guard let dim = slices.first?.tokens.shape[1], !places.isEmpty else { throw .invalid("no labelled patch to learn from") }
    let count = min(places.count, limit)
    let tokens = try Tensor([count, dim], in: budget, "patches to learn from")
    var shares: [Float] = []
    shares.reserveCapacity(count * classes)
    for row in 0..<count {
      let place = places[row * places.count / count]
      let slice = slices[place.slice]
      tokens.rows(row..<row + 1).copy(from: slice.tokens.rows(place.patch..<place.patch + 1))
      shares += slice.shares[place.patch * classes..<(place.patch + 1) * classes]
    }
    (self.tokens, self.shares, self.count, self.classes) = (tokens, shares, count, classes)
  }
}

/// A way to give each patch a score for each class.
protocol PatchClassifier {
  /// [patches · classes] of tokens [patches, dim]. Throws: `.outOfMemory`, `.cancelled`.
  func scores(_ tokens: Tensor, control: RunControl) throws(MedDINOError) -> [Float]
}
