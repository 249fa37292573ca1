internal import Platform
internal import Pretraining
internal import Slices
internal import Tensors

/// A slice set on disk as the source of pretraining.
struct ShardSlices: SliceSource {
  let shards: SliceSet
  var count: Int { shards.count }
  var fingerprint: String { shards.fingerprint }

  func slice(at index: Int, in budget: MemoryBudget) throws(MedDINOError) -> PretrainingSlice {
    PretrainingSlice(try shards.tensor(at: index, in: budget), units: .hounsfield)
  }
}
