public import Platform
internal import Slices
public import Tensors

/// Curation of CT volumes to a slice set for pretraining.
public enum Curation {
  /// Makes the part `destination/<source.name>` of a slice set from the volumes of a source.
  ///
  /// Volumes are read ahead on `jobs` threads and cut into slices on the threads of `pool`; slices go into shards in the order of the
  /// volumes' names and from feet to head, so that the files depend on neither. A run that was stopped, in whatever way, goes on behind
  /// its last complete shard when it is called again with the same source and options, and ends with the same bytes as an unbroken one.
  /// Slices of other finished parts in `destination` count as seen before. Memory: `jobs` + 1 volumes, one block of slices, 16 to 32
  /// bytes for each slice seen.
  /// Throws: `.invalid` for options, a source without volumes or two volumes of one name; `.state` when the part was begun otherwise or
  /// another run writes to it; `.format`, `.unsupported`, `.io` for a volume (unless skipped); `.outOfMemory`, `.cancelled`.
  /// Source: demand and peers A3.
  public static func run(
    _ source: CurationSource, to destination: String, options: CurationOptions = CurationOptions(), pool: ThreadPool,
    in budget: MemoryBudget, control: RunControl = RunControl(), log: Log = .silent
  ) throws(MedDINOError) -> CurationReport {
    guard (0...256).contains(options.jobs) else { throw .invalid("jobs is \(options.jobs), expected 0 (auto) to 256") }
    let plan = try CurationPlan(source, options)
    let folder = try PartFolder(destination.isEmpty ? "." : destination, part: source.name)
    let run = try CurationRun(plan, folder, options, pool, budget, control, log)
    return try run.execute(destination.isEmpty ? "." : destination)
  }
}
