import Glibc
import Imaging
import Platform
import Slices
import Tensors
import TestSupport
import Testing

@testable import Datasets

/// Small CT-like volumes in a folder: a bright disc in air whose values differ from slice to slice and from volume to volume.
struct CurationSample {
  let root: String
  var source: String { root + "/source" }
  var set: String { root + "/set" }

  static func volume(
    seed: Int, dims: [Int] = [24, 20, 6], spacing: [Double] = [1.5, 1.5, 3], direction: [Double] = [1, 0, 0, 0, 1, 0, 0, 0, 1]
  ) throws -> Volume {
    let geometry = Geometry(dims: dims, spacing: spacing, origin: [3, -7, 40], direction: direction)
    let volume = try Volume(allocating: .int16, geometry: geometry, in: MemoryBudget())
    let voxels = volume.mutableBase.assumingMemoryBound(to: Int16.self)
    for z in 0..<dims[2] {
      for y in 0..<dims[1] {
        for x in 0..<dims[0] {
          let (u, v) = (Double(x) / Double(dims[0]) - 0.45, Double(y) / Double(dims[1]) - 0.55)
          let inside = u * u + v * v < 0.12
          let value = inside ? 40 + (x * 7 + y * 13 + z * 29 + seed * 31) % 90 : -1000 - (x + y) % 5
          voxels[(z * dims[1] + y) * dims[0] + x] = Int16(value)
        }
      }
    }
    return volume
  }

  func write(_ name: String, seed: Int, dims: [Int] = [24, 20, 6], spacing: [Double] = [1.5, 1.5, 3]) throws {
    try write(name, Self.volume(seed: seed, dims: dims, spacing: spacing))
  }
  func write(_ name: String, _ volume: Volume) throws {
    let path = source + "/" + name
    try makeFolder(path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/"))
    try NIfTI.write(volume, to: path)
  }

  static func rules(size: Int? = 16, spacing: Double? = 2) -> SliceRules {
    var rules = SliceRules()
    rules.size = size
    rules.spacing = spacing
    return rules
  }
  static func options(shardSlices: Int = 4, jobs: Int = 1) -> CurationOptions {
    var options = CurationOptions()
    options.rules = rules()
    options.shardSlices = shardSlices
    options.jobs = jobs
    return options
  }

  @discardableResult
  func curate(
    _ options: CurationOptions = CurationSample.options(), name: String = "part", to destination: String? = nil, threads: Int = 2,
    control: RunControl = RunControl(), log: Log = .silent
  ) throws -> CurationReport {
    try Curation.run(
      CurationSource(name: name, folders: [source]), to: destination ?? set, options: options, pool: ThreadPool(threads: threads),
      in: MemoryBudget(), control: control, log: log)
  }

  /// Names and bytes of all files of a part, hidden ones left out.
  static func files(_ folder: String) throws -> [String: [UInt8]] {
    var result: [String: [UInt8]] = [:]
    for name in try folderEntries(folder) where !name.hasPrefix(".") {
      let path = folder + "/" + name
      if FileKind.of(path) == .directory {
        for (below, bytes) in try files(path) { result[name + "/" + below] = bytes }
      } else {
        result[name] = try InputFile.contents(path)
      }
    }
    return result
  }
}
