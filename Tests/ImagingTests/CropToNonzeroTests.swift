import Imaging
import Platform
import TestSupport
import Testing

@Suite struct CropToNonzeroTests {
  private let budget = MemoryBudget()

  private func reference(_ solid: [Bool], _ d: [Int]) -> [Bool] {
    var open = [Bool](repeating: false, count: solid.count)
    var stack: [Int] = []
    func visit(_ x: Int, _ y: Int, _ z: Int) {
      guard x >= 0, y >= 0, z >= 0, x < d[0], y < d[1], z < d[2] else { return }
      let index = (z * d[1] + y) * d[0] + x
      if solid[index] || open[index] { return }
      open[index] = true
      stack.append(index)
    }
    for z in 0..<d[2] {
      for y in 0..<d[1] {
        for x in 0..<d[0] where x == 0 || y == 0 || z == 0 || x == d[0] - 1 || y == d[1] - 1 || z == d[2] - 1 { visit(x, y, z) }
      }
    }
    while let index = stack.popLast() {
      let (x, y, z) = (index % d[0], index / d[0] % d[1], index / d[0] / d[1])
      for step in [-1, 1] {
        visit(x + step, y, z)
        visit(x, y + step, z)
        visit(x, y, z + step)
      }
    }
    return open.map { !$0 }
  }

  @Test func holesFillAsByFlooding() throws {
    var random = SeededGenerator(21)
    for dims in [[1, 1, 1], [5, 4, 1], [64, 6, 5], [65, 7, 6], [130, 9, 8], [63, 12, 3], [3, 40, 40]] {
      for density in [0.3, 0.6, 0.75] {
        let count = dims.reduce(1, *)
        let solid = (0..<count).map { _ in Double.random(in: 0..<1, using: &random) < density }
        let mask = try BitVolume(dims: dims, in: budget)
        for index in 0..<count where solid[index] { mask[index % dims[0], index / dims[0] % dims[1], index / dims[0] / dims[1]] = true }
        try mask.fillHoles(in: budget)
        let expected = reference(solid, dims)
        let got = (0..<count).map { mask[$0 % dims[0], $0 / dims[0] % dims[1], $0 / dims[0] / dims[1]] }
        #expect(got == expected)
        #expect(mask.count == expected.filter { $0 }.count)
      }
    }
  }

  /// A winding corridor is the worst case for sweeps and row fills.
  @Test func labyrinthStaysOpen() throws {
    let dims = [101, 51, 5]
    let mask = try BitVolume(dims: dims, in: budget)
    var solid = [Bool](repeating: true, count: dims.reduce(1, *))
    func clear(_ x: Int, _ y: Int) { solid[(2 * dims[1] + y) * dims[0] + x] = false }
    for y in stride(from: 1, to: 50, by: 2) {
      for x in 1..<100 { clear(x, y) }
      if y < 49 { clear(y / 2 % 2 == 0 ? 99 : 1, y + 1) }
    }
    for entrance in [false, true] {
      if entrance { clear(0, 1) }
      for index in solid.indices { mask[index % 101, index / 101 % 51, index / 101 / 51] = solid[index] }
      try mask.fillHoles(in: budget)
      #expect(mask.count == (entrance ? solid.filter { $0 }.count : solid.count))
    }
  }

  @Test func boxIsTightOverChannelsAndScaling() throws {
    let geometry = Geometry(dims: [7, 6, 5])
    let first = try makeVolume(.int16, geometry) { $0 == (2 * 6 + 3) * 7 + 4 ? 9 : 0 }
    var second = try makeVolume(.uint8, geometry) { $0 == (3 * 6 + 1) * 7 + 2 ? 0 : 5 }
    #expect(try CropToNonzero.box(of: [first], in: budget) == VoxelBox(lower: [4, 3, 2], upper: [5, 4, 3]))
    #expect(try CropToNonzero.box(of: [second], in: budget) == VoxelBox(dims: [7, 6, 5]))
    (second.slope, second.intercept) = (2, -10)  // 5 becomes 0, 0 becomes -10
    #expect(try CropToNonzero.box(of: [first, second], in: budget) == VoxelBox(lower: [2, 1, 2], upper: [5, 4, 4]))
    let empty = try makeVolume(.float32, geometry) { _ in 0 }
    #expect(try CropToNonzero.box(of: [empty], in: budget) == VoxelBox(dims: [7, 6, 5]))
    #expect(try CropToNonzero.mask(of: [empty], in: VoxelBox(dims: [7, 6, 5]), budget: budget).count == 0)
    #expect(throws: MedDINOError.self) { try CropToNonzero.box(of: [], in: budget) }
    let other = try makeVolume(.int16, Geometry(dims: [7, 6, 4])) { _ in 1 }
    #expect(throws: MedDINOError.self) { try CropToNonzero.box(of: [first, other], in: budget) }
  }

  @Test func croppingFirstFillsTheSameHoles() throws {
    var random = SeededGenerator(22)
    let dims = [40, 30, 20]
    let volume = try makeVolume(.uint8, Geometry(dims: dims)) { index in
      let (x, y, z) = (index % 40, index / 40 % 30, index / 1200)
      let inside = (6..<31).contains(x) && (4..<30).contains(y) && (0..<17).contains(z)
      return inside && Double.random(in: 0..<1, using: &random) < 0.72 ? 1 : 0
    }
    let box = try CropToNonzero.box(of: [volume], in: budget)
    let whole = try CropToNonzero.mask(of: [volume], in: VoxelBox(dims: dims), budget: budget)
    let part = try CropToNonzero.mask(of: [volume], in: box, budget: budget)
    #expect(part.count == whole.count)
    let view = volume.cropped(to: box)
    for z in 0..<box.dims[2] {
      for y in 0..<box.dims[1] {
        for x in 0..<box.dims[0] {
          #expect(part[x, y, z] == whole[x + box.lower[0], y + box.lower[1], z + box.lower[2]])
          if view.value(x, y, z) != 0 { #expect(part[x, y, z]) }
        }
      }
    }
  }
}
