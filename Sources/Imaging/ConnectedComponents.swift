public import Platform

/// Connected components of a mask with full connectivity: voxels that share a face, an edge or a corner belong together (26 in 3D).
///
/// Union-find over runs along x. Components are numbered by their first voxel in the order z, y, x.
public struct ConnectedComponents: Sendable {
  /// Voxels of each component.
  public let sizes: [Int]
  private let runs: RunTable

  /// Throws: `.outOfMemory`, `.cancelled`.
  public init(_ mask: BitVolume, in budget: MemoryBudget, control: RunControl? = nil) throws(MedDINOError) {
    let runs = try RunTable(mask, in: budget, control: control)
    let (height, depth) = (mask.dims[1], mask.dims[2])
    for z in 0..<depth {
      try control?.update(Double(z) / Double(depth))
      for y in 0..<height {
        let index = z * height + y
        if y > 0 { runs.join(index, index - 1) }
        if z == 0 { continue }
        for neighbour in max(y - 1, 0)...min(y + 1, height - 1) { runs.join(index, (z - 1) * height + neighbour) }
      }
    }
    sizes = runs.number()
    self.runs = runs
  }

  public var count: Int { sizes.count }

  /// Calls `body` for every run of the mask in the order z, y, x with the number of its component.
  public func forRuns(_ body: (_ xs: Range<Int>, _ y: Int, _ z: Int, _ component: Int) -> Void) { runs.forAll(body) }
}

/// The runs of all rows of a mask, and which belong together.
private final class RunTable: @unchecked Sendable {
  private let height: Int
  private let rows: Int
  private let buffers: [Buffer]
  /// First run of each row, and the number of runs behind the last.
  private let first: UnsafeMutablePointer<Int>
  private let begins: UnsafeMutablePointer<Int32>
  private let ends: UnsafeMutablePointer<Int32>
  /// An earlier run of the same component, or itself; after `number` the component.
  private let parents: UnsafeMutablePointer<Int>

  init(_ mask: BitVolume, in budget: MemoryBudget, control: RunControl?) throws(MedDINOError) {
    height = mask.dims[1]
    rows = mask.rowCount
    let heads = try budget.allocate(try Checked.product([rows + 1, 8], "components"), "components")
    first = heads.pointer.bindMemory(to: Int.self, capacity: rows + 1)
    var total = 0
    for index in 0..<rows {
      first[index] = total
      mask.forRuns(ofRow: index) { _ in total += 1 }
    }
    first[rows] = total
    try control?.check()
    let table = try budget.allocate(try Checked.product([total, 16], "components"), "components")
    buffers = [heads, table]
    parents = table.pointer.bindMemory(to: Int.self, capacity: total)
    begins = (table.pointer + 8 * total).bindMemory(to: Int32.self, capacity: total)
    ends = (table.pointer + 12 * total).bindMemory(to: Int32.self, capacity: total)
    for index in 0..<rows {
      var at = first[index]
      mask.forRuns(ofRow: index) { run in
        parents[at] = at
        begins[at] = Int32(run.lowerBound)
        ends[at] = Int32(run.upperBound)
        at += 1
      }
    }
  }

  /// Joins the runs of two rows that touch, also diagonally.
  func join(_ row: Int, _ other: Int) {
    var (a, b) = (first[row], first[other])
    while a < first[row + 1], b < first[other + 1] {
      if begins[a] <= ends[b], begins[b] <= ends[a] { unite(a, b) }
      if ends[a] < ends[b] { a += 1 } else { b += 1 }
    }
  }

  /// The earliest known run of a component. Halves the way for the next search.
  private func root(_ run: Int) -> Int {
    var run = run
    while parents[run] != run {
      parents[run] = parents[parents[run]]
      run = parents[run]
    }
    return run
  }

  private func unite(_ a: Int, _ b: Int) {
    let (x, y) = (root(a), root(b))
    if x < y { parents[y] = x } else { parents[x] = y }
  }

  /// Replaces parents by component numbers; returns the sizes. Parents come before their children.
  func number() -> [Int] {
    var sizes: [Int] = []
    for run in 0..<first[rows] {
      if parents[run] == run {
        parents[run] = sizes.count
        sizes.append(0)
      } else {
        parents[run] = parents[parents[run]]
      }
      sizes[parents[run]] += Int(ends[run] - begins[run])
    }
    return sizes
  }

  func forAll(_ body: (Range<Int>, Int, Int, Int) -> Void) {
    for row in 0..<rows {
      for run in first[row]..<first[row + 1] {
        body(Int(begins[run])..<Int(ends[run]), row % height, row / height, parents[run])
      }
    }
    withExtendedLifetime(buffers) {}
  }
}
