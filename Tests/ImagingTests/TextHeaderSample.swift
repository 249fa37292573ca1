import Imaging
import Platform
import Tensors
import TestSupport
import Testing

/// Headers of NRRD and MetaImage files for tests, line by line, with 24 voxels of int16 (4 × 3 × 2): 0, 1, 2, …
struct TextHeaderSample: Sendable {
  var lines: [String]
  var ending: String
  var voxels: [UInt8] = TextHeaderSample.int16(0..<24)

  static func int16(_ values: some Sequence<Int>, isBig: Bool = false) -> [UInt8] {
    values.flatMap { value in
      let bits = UInt16(truncatingIfNeeded: value)
      return withUnsafeBytes(of: isBig ? bits.bigEndian : bits.littleEndian) { Array($0) }
    }
  }

  static let nrrd = TextHeaderSample(
    lines: [
      "NRRD0004", "type: short", "dimension: 3", "space: left-posterior-superior", "sizes: 4 3 2",
      "space directions: (0.5,0,0) (0,0.75,0) (0,0,2)", "kinds: domain domain domain", "endian: little", "encoding: raw",
      "space origin: (-10,-20,30)", "",
    ], ending: ".nrrd")

  static let metaImage = TextHeaderSample(
    lines: [
      "ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False", "CompressedData = False",
      "TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = -10 -20 30", "CenterOfRotation = 0 0 0", "ElementSpacing = 0.5 0.75 2",
      "DimSize = 4 3 2", "ElementType = MET_SHORT", "ElementDataFile = LOCAL",
    ], ending: ".mha")

  private func isField(_ line: String, _ name: String) -> Bool { line.hasPrefix(name + ":") || line.hasPrefix(name + " =") }

  /// The header with another value of a field, without it for nil; a new field stands where headers may have one.
  func with(_ name: String, _ value: String?) -> TextHeaderSample {
    var result = self
    let line = value.map { ending == ".nrrd" || ending == ".nhdr" ? "\(name): \($0)" : "\(name) = \($0)" }
    if let place = lines.firstIndex(where: { isField($0, name) }) {
      if let line { result.lines[place] = line } else { result.lines.remove(at: place) }
    } else if let line {
      result.lines.insert(line, at: 1)
    }
    return result
  }
  func with(_ fields: [String: String?]) -> TextHeaderSample { fields.reduce(self) { $0.with($1.key, $1.value) } }

  var header: [UInt8] { Array((lines.joined(separator: "\n") + "\n").utf8) }
  var file: [UInt8] { header + voxels }

  func write(to path: String) throws { try AtomicFile.write(file, to: path) }
}

func readVolume(_ sample: TextHeaderSample, in folder: String, budget: MemoryBudget = MemoryBudget()) throws -> Volume {
  let path = folder + "/sample" + sample.ending
  try sample.write(to: path)
  return try VolumeFile.read(path, in: budget)
}

func readVolume(_ sample: TextHeaderSample) throws -> Volume { try withTemporaryFolder { try readVolume(sample, in: $0) } }

@Suite struct TextHeaderSampleTests {
  @Test(arguments: [TextHeaderSample.nrrd, .metaImage]) func geometryAndVoxels(sample: TextHeaderSample) throws {
    let volume = try readVolume(sample)
    #expect(volume.dtype == .int16 && volume.channels == 1 && volume.isPacked && !volume.isPlane)
    #expect(values(volume) == countingVoxels)
    #expect(volume.geometry == Geometry(dims: [4, 3, 2], spacing: [0.5, 0.75, 2], origin: [-10, -20, 30]))
  }
}

func compressed(_ bytes: [UInt8], _ wrapping: GzipWriter.Wrapping, at path: String) throws -> [UInt8] {
  let file = try AtomicFile(path)
  let writer = try GzipWriter(file, level: 6, wrapping: wrapping)
  try bytes.withUnsafeBytes { try writer.write($0) }
  try writer.finish()
  try file.commit()
  return try InputFile.contents(path)
}

let countingVoxels = (0..<24).map(Double.init)
