import FineTuning
import Platform
import Segmentation
import Tensors
import TestSupport
import Testing

private func sampler(_ geometry: PatchGeometry, _ scheme: LabelScheme, batchSize: Int = 4, seed: UInt64 = 7) -> PatchSampler {
  PatchSampler(geometry: geometry, rule: ForegroundRule(scheme), batchSize: batchSize, seed: seed, purpose: "test")
}

/// Class 1 in slices 1 (8 pixels) and 3 (24 pixels), class 2 in slice 4 (4 pixels), nothing of class 3.
private func organs(_ scheme: LabelScheme, _ name: String = "organs") throws -> SyntheticCase {
  try SyntheticCase(name, shape: [1, 6, 20, 24], scheme: scheme) { slice, row, column in
    switch slice {
    case 1: row == 4 && column < 8 ? 1 : 0
    case 3: row == 15 ? 1 : 0
    case 4: row == 2 && column > 19 ? 2 : 0
    default: 0
    }
  } value: { _, slice, row, column in
    Float(slice * 1000 + row * 30 + column)
  }
}

@Test func patchesOfTrainingCoverTheTurnedPatch() throws {
  #expect(try PatchGeometry.training([896, 896]).loaderPatch == [1054, 1054])
  #expect(try PatchGeometry.training([512, 320]).loaderPatch == [679, 376])
  #expect(try PatchGeometry.training([64, 64], rotation: 0...0).loaderPatch == [75, 75])
  #expect(try PatchGeometry.validation([896, 640]).loaderPatch == [896, 640])
  for patch in [[], [1], [0, 4], [4, -1], [4, 4, 4], [Int.max, 2]] {
    #expect(throws: MedDINOError.self) { try PatchGeometry.training(patch) }
  }
}

@Test func boxesMayLeaveTheSliceByHalfThePadding() throws {
  var random = SeededGenerator(3)
  for _ in 0..<500 {
    let patch = [Int.random(in: 1...90, using: &random), Int.random(in: 1...90, using: &random)]
    let geometry = Bool.random(using: &random) ? try PatchGeometry.training(patch) : try PatchGeometry.validation(patch)
    let size = Int.random(in: 1...200, using: &random)
    for axis in 0..<2 {
      let starts = geometry.starts(axis: axis, size: size)
      let (box, pad) = (geometry.loaderPatch[axis], geometry.padding[axis])
      if size >= box { #expect(starts == -((pad + 1) / 2)...size - box + (pad + 1) / 2) }
      if size + pad <= box { #expect(starts.count == 1 || starts.count == 2, "\(starts)") }
      // Every start leaves at least a part of the slice inside.
      #expect(starts.lowerBound + box > 0 && starts.upperBound < size)
      let place = Int.random(in: 0..<size, using: &random)
      let start = geometry.start(axis: axis, size: size, around: place)
      #expect(start >= starts.lowerBound && start <= place && place < start + box)
    }
    let whole = geometry.box(row: 5, column: -3)
    let middle = geometry.centre(whole)
    #expect([middle.rows.count, middle.columns.count] == patch)
    #expect(whole.rows.clamped(to: middle.rows) == middle.rows && whole.columns.clamped(to: middle.columns) == middle.columns)
  }
}

@Test func casesSlicesAndBoxesAreUniformWithoutForeground() throws {
  let scheme = try plainScheme()
  let cases = try (0..<3).map { try organs(scheme, "case \($0)") }
  let geometry = try PatchGeometry.validation([16, 24])
  let draws = (0..<6000).map { sampler(geometry, scheme).draw(step: UInt64($0), item: 0, from: cases) }
  for index in 0..<3 { #expect(isPlausible(draws.count { $0.index == index }, of: 6000, probability: 1 / 3)) }
  for slice in 0..<6 { #expect(isPlausible(draws.count { $0.slice == slice }, of: 6000, probability: 1 / 6)) }
  for start in 0...4 { #expect(isPlausible(draws.count { $0.box.rows.lowerBound == start }, of: 6000, probability: 1 / 5)) }
  #expect(draws.allSatisfy { $0.box.columns == 0..<24 && $0.location == nil })
  // Case and slice are independent.
  #expect(isPlausible(draws.count { $0.index == 1 && $0.slice == 2 }, of: 6000, probability: 1 / 18))
}

@Test func forcedSamplesShowAClassInTheirMiddle() throws {
  let scheme = try plainScheme()
  let cases = [try organs(scheme)]
  let geometry = try PatchGeometry.training([8, 8])
  let draws = (0..<6000).map { sampler(geometry, scheme).draw(step: UInt64($0), item: 3, from: cases) }
  // Two of three classes have locations; the third is never drawn.
  #expect(isPlausible(draws.count { $0.location == 0 }, of: 6000, probability: 0.5))
  #expect(draws.allSatisfy { $0.location == 0 || $0.location == 1 })
  let first = draws.filter { $0.location == 0 }
  // Slices count by their locations: 8 of 32.
  #expect(isPlausible(first.count { $0.slice == 1 }, of: first.count, probability: 0.25))
  #expect(first.allSatisfy { $0.slice == 1 || $0.slice == 3 })
  for draw in draws {
    let wanted = draw.location == 0 ? 1 : 2
    let (row, column) = (draw.box.rows.lowerBound + 4, draw.box.columns.lowerBound + 4)
    let bounded = draw.box.columns.lowerBound == geometry.starts(axis: 1, size: 24).lowerBound
    if !bounded, draw.box.rows.lowerBound > geometry.starts(axis: 0, size: 20).lowerBound {
      #expect(cases[0].labelValue(draw.slice, row, column) == wanted)
    }
  }
}

@Test func casesWithoutForegroundAreCutAnywhere() throws {
  let scheme = try plainScheme()
  let empty = try SyntheticCase(shape: [1, 4, 16, 16], scheme: scheme) { _, _, _ in
    0
  } value: { _, _, _, _ in
    0
  }
  let geometry = try PatchGeometry.validation([8, 8])
  let draws = (0..<2000).map { sampler(geometry, scheme).draw(step: $0, item: 3, from: [empty]) }
  #expect(draws.allSatisfy { $0.location == nil })
  for slice in 0..<4 { #expect(isPlausible(draws.count { $0.slice == slice }, of: 2000, probability: 0.25)) }
}

@Test func ignoredPixelsAreAvoided() throws {
  let scheme = try regionScheme()
  // Only slice 2 is annotated; slices 0 and 1 are ignored.
  let some = try SyntheticCase(shape: [1, 3, 16, 16], scheme: scheme) { slice, row, _ in
    slice < 2 ? 4 : row == 3 ? 2 : 0
  } value: { _, _, _, _ in
    0
  }
  let background = try SyntheticCase(shape: [1, 3, 16, 16], scheme: scheme) { slice, _, _ in
    slice < 2 ? 4 : 0
  } value: { _, _, _, _ in
    0
  }
  let nothing = try SyntheticCase(shape: [1, 3, 16, 16], scheme: scheme) { _, _, _ in
    4
  } value: { _, _, _, _ in
    0
  }
  let annotated = some.locations.count - 1
  let rule = ForegroundRule(scheme)
  #expect(rule.candidates(some.locations, forced: false) == [annotated])
  #expect(rule.candidates(some.locations, forced: true) == [0, 1, 2])
  #expect(rule.candidates(background.locations, forced: true) == [annotated])
  #expect(rule.candidates(nothing.locations, forced: true) == [] && rule.candidates(nothing.locations, forced: false) == [])
  let geometry = try PatchGeometry.validation([8, 8])
  for step in 0..<200 {
    #expect(sampler(geometry, scheme).draw(step: UInt64(step), item: 0, from: [some]).slice == 2)
    let forced = sampler(geometry, scheme).draw(step: UInt64(step), item: 3, from: [some])
    #expect(forced.slice == 2 && forced.location != annotated)
  }
}

@Test func drawsDependOnTheirKeyAlone() throws {
  let scheme = try plainScheme()
  let cases = try (0..<5).map { try organs(scheme, "case \($0)") }
  let geometry = try PatchGeometry.training([8, 8])
  let one = sampler(geometry, scheme)
  func all(_ sampler: PatchSampler, _ steps: [UInt64]) -> [PatchChoice] {
    steps.flatMap { step in (0..<4).map { sampler.draw(step: step, item: $0, from: cases) } }
  }
  let forwards = all(one, Array(0..<40))
  let backwards = Array(all(one, Array((0..<40).reversed())))
  for step in 0..<40 { #expect(Array(forwards[step * 4..<step * 4 + 4]) == Array(backwards[(39 - step) * 4..<(40 - step) * 4])) }
  #expect(forwards != all(sampler(geometry, scheme, seed: 8), Array(0..<40)))
  // With replacement: some batch holds a case twice, and nearly all batches differ.
  #expect((0..<40).contains { step in Set(forwards[step * 4..<step * 4 + 4].map(\.index)).count < 4 })
  #expect(Set(forwards.map { "\($0)" }).count > 120)
}

@Test func boxesOutsideTheSliceArePadded() throws {
  let scheme = try plainScheme()
  let source = try SyntheticCase(shape: [2, 2, 13, 9], scheme: scheme) { slice, row, column in
    (slice + row + column) % 4
  } value: {
    Float($0 * 10000 + $1 * 1000 + $2 * 20 + $3 + 1)
  }
  var random = SeededGenerator(5)
  let budget = MemoryBudget()
  for _ in 0..<200 {
    let (rows, columns) = (Int.random(in: 1...30, using: &random), Int.random(in: 1...30, using: &random))
    let (row, column) = (Int.random(in: -35...15, using: &random), Int.random(in: -35...12, using: &random))
    let box = PatchBox(rows: row..<row + rows, columns: column..<column + columns)
    let image = try Tensor([2, rows, columns], in: budget)
    let labels = try Tensor([1, rows, columns], .int16, in: budget)
    try PatchReader.readImage(box, slice: 1, of: source, into: image)
    try PatchReader.readLabels(box, slice: 1, of: source, into: labels)
    for y in 0..<rows {
      for x in 0..<columns {
        let isInside = (0..<13).contains(row + y) && (0..<9).contains(column + x)
        for channel in 0..<2 {
          let expected = isInside ? source.imageValue(channel, 1, row + y, column + x) : 0
          #expect(image.floats[(channel * rows + y) * columns + x] == expected)
        }
        #expect(labels.elements(Int16.self)[y * columns + x] == (isInside ? source.labelValue(1, row + y, column + x) : -1))
      }
    }
  }
  #expect(throws: MedDINOError.self) {
    try PatchReader.readImage(
      PatchBox(rows: 0..<4, columns: 0..<4), slice: 0, of: source, into: Tensor([2, 4, 5], in: budget))
  }
}
