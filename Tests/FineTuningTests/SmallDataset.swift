import Datasets
import FineTuning
import Imaging
import Platform
import Tensors
import TestSupport
import WeightFiles

/// A tiny phantom dataset on disk, with ways to spoil it.
struct SmallDataset {
  let folder: String
  let budget = MemoryBudget()

  init(in parent: String, cases: Int = 5, labels: Int = 3) throws {
    var options = PhantomOptions.fixed(matrix: 24, slices: 4, spacing: 14, sliceSpacing: 50, seed: 3)
    options.cases = cases
    options.testCases = 0
    options.labelCount = labels
    options.missingChance = 0
    options.fileEnding = ".nii"
    folder = try Phantom.writeDataset(to: parent, options: options, in: budget)
  }

  /// A survey with few samples.
  var quick: DatasetSurvey.Options {
    var options = DatasetSurvey.Options()
    options.samples = 50_000
    return options
  }

  func image(_ index: Int, channel: Int = 0) -> String { "\(folder)/imagesTr/phantom_00\(index)_000\(channel).nii" }
  func label(_ index: Int) -> String { "\(folder)/labelsTr/phantom_00\(index).nii" }

  /// Rewrites a volume as float32 on another grid or with other values.
  func rewrite(_ path: String, geometry: (inout Geometry) -> Void) throws { try rewrite(path, geometry) { $1 } }
  func revalue(_ path: String, _ value: (Int, Float) -> Float) throws { try rewrite(path, { _ in }, value) }

  private func rewrite(_ path: String, _ geometry: (inout Geometry) -> Void, _ value: (Int, Float) -> Float) throws {
    let old = try NIfTI.read(path, in: budget)
    var grid = old.geometry
    geometry(&grid)
    let new = try Volume(allocating: .float32, geometry: grid, in: budget)
    let out = new.mutableBase.assumingMemoryBound(to: Float.self)
    let dims = old.geometry.dims
    for index in 0..<grid.voxelCount {
      let (x, y, z) = (index % grid.dims[0], index / grid.dims[0] % grid.dims[1], index / (grid.dims[0] * grid.dims[1]))
      out[index] = value(index, Float(old.value(min(x, dims[0] - 1), min(y, dims[1] - 1), min(z, dims[2] - 1))))
    }
    try NIfTI.write(new, to: path)
  }

  func describe(_ change: (inout JSONObject) -> Void) throws {
    let path = folder + "/dataset.json"
    var object = try JSON.parse(InputFile.contents(path), source: path).objectValue ?? JSONObject()
    change(&object)
    try AtomicFile.write(Array(JSON.object(object).text(indent: 4).utf8), to: path)
  }
}

let testPool: ThreadPool? = try? ThreadPool(threads: 2)
func pool() throws -> ThreadPool {
  guard let testPool else { throw MedDINOError(.outOfMemory, "no thread pool") }
  return testPool
}
