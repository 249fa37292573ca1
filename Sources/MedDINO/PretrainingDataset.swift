public import Imaging
public import Platform
public import Pretraining
internal import Slices
internal import Tensors

/// CT slices without labels that a pretraining run draws from: a slice set on disk, volumes in memory, or what a host hands over.
public final class PretrainingDataset: Sendable {
  public let context: Context
  public let source: any SliceSource
  /// What it is, in words for people.
  public let summary: String
  public var count: Int { source.count }

  private init(_ context: Context, _ source: any SliceSource, _ summary: String) {
    self.context = context
    self.source = source
    self.summary = summary
  }

  /// A folder that `meddino curate` made. `skipsDamaged`: shards and slices that are missing or damaged are passed over and named in the
  /// log (nil: the context's) instead of being an error.
  /// Throws: `.io`, `.format`, `.state` for a set that is not finished, `.invalid` for a folder that is no set.
  public convenience init(
    set folder: String, skipsDamaged: Bool = false, context: Context, log: Log? = nil
  ) throws(MedDINOError) {
    let set = try SliceSet(folder, policy: skipsDamaged ? .skip : .refuse, log: log ?? context.log)
    self.init(context, ShardSlices(shards: set), "the set \(folder)")
  }

  /// One slice set; or files of volumes, or folders of them, whose axial slices are held in memory.
  ///
  /// Throws: as the other ones, and `.invalid` for a folder without volumes and for `skipsDamaged` without a set.
  public convenience init(
    sources: [String], skipsDamaged: Bool = false, context: Context, log: Log? = nil, control: RunControl = RunControl()
  ) throws(MedDINOError) {
    if sources.count == 1, SliceSet.isSet(sources[0]) {
      try self.init(set: sources[0], skipsDamaged: skipsDamaged, context: context, log: log)
      return
    }
    if let set = sources.first(where: SliceSet.isSet) {
      throw .invalid(
        "\(set) is a slice set, given with \(sources.count - 1) other sources, expected one set alone (a folder with several parts is one), "
          + "or volumes and folders of them")
    }
    guard !skipsDamaged else { throw .invalid("skipping damaged slices has an effect only on a slice set") }
    var files: [String] = []
    for source in sources { files += try Self.volumes(source) }
    self.init(context, try VolumeSlices(files: files, in: context.budget, control: control), "\(files.count) volumes")
  }

  /// A file, or the volumes of a folder by name. Throws: `.invalid`, `.io`.
  private static func volumes(_ path: String) throws(MedDINOError) -> [String] {
    guard FileKind.of(path) == .directory else { return [path] }
    let names = try folderEntries(path).filter { VolumeFile.ending(of: $0) != nil }.sorted()
    guard !names.isEmpty else { throw .invalid("\(path): no files ending in \(VolumeFile.endingsInWords) in this folder") }
    return names.map { path + "/" + $0 }
  }

  /// Gives image `index` for as long as `use` runs, which copies it: one channel, one slice, in HU; rows are its second axis.
  public typealias Hand =
    @Sendable (_ index: Int, _ use: (Volume) throws(MedDINOError) -> Void) throws(MedDINOError) -> Void

  /// `count` slices that a host hands over, again in every pass over them.
  ///
  /// `spacing`: rows and columns are resampled to it; nil takes the pixels as they come. Units: mm. `isConcurrent`: `hand` may be called
  /// from several threads at once, also between the calls of a trainer.
  /// Throws: `.invalid`.
  public convenience init(
    count: Int, spacing: Double? = nil, isConcurrent: Bool = false, context: Context, _ hand: @escaping Hand
  ) throws(MedDINOError) {
    if let spacing, !(spacing.isFinite && spacing >= 0.01 && spacing <= 100) {
      throw .invalid("spacing is \(spacing), expected 0.01 to 100 mm")
    }
    let name = "\(count) slices of a callback" + (spacing.map { ", \($0) mm" } ?? "")
    let source = try CallbackSource(count: count, fingerprint: name, isConcurrent: isConcurrent) {
      (index, budget) throws(MedDINOError) in
      var slice: PretrainingSlice?
      try hand(index) { (volume) throws(MedDINOError) in
        do throws(MedDINOError) { slice = try HandedSlice.copied(volume, spacing: spacing, in: budget) } catch {
          throw error.within("slice \(index)")
        }
      }
      guard let slice else { throw .invalid("slice \(index) was not handed over") }
      return slice
    }
    self.init(context, source, name)
  }
}

/// A host's slice as pretraining wants it.
enum HandedSlice {
  private static let largestSide = 16384

  /// Copies rows and columns, and resamples them bilinearly, antialiased when it shrinks, as the curation does.
  /// Throws: `.shape`, `.invalid` for a value that is no number, `.unsupported` for one that becomes too large, `.outOfMemory`.
  static func copied(_ volume: Volume, spacing: Double?, in budget: MemoryBudget) throws(MedDINOError) -> PretrainingSlice {
    let (dims, own) = (volume.geometry.dims, volume.geometry.spacing)
    guard dims[2] == 1, volume.channels == 1 else {
      throw .shape("has \(dims[2]) slices and \(volume.channels) channels, expected one of each")
    }
    func side(_ axis: Int) throws(MedDINOError) -> Int {
      let extent = spacing.map { (Double(dims[axis]) * own[axis] / $0).rounded(.toNearestOrEven) } ?? Double(dims[axis])
      guard extent <= Double(largestSide), dims[axis] <= largestSide else {
        throw .unsupported("\(dims[axis]) pixels of \(own[axis]) mm become \(extent), expected at most \(largestSide)")
      }
      return max(1, Int(extent))
    }
    let (rows, columns) = (try side(1), try side(0))
    let plane = try Tensor([1, dims[1], dims[0]], in: budget, "slice")
    guard let base = plane.floats.baseAddress else { throw .shape("has no pixels") }
    volume.readPlane(axis: 2, index: 0, rowAxis: 1, rows: 0..<dims[1], columnAxis: 0, columns: 0..<dims[0], channel: 0, into: base)
    guard plane.floats.allSatisfy(\.isFinite) else { throw .invalid("holds NaN or infinity, expected Hounsfield units") }
    if rows == dims[1], columns == dims[0] { return PretrainingSlice(plane, units: .hounsfield) }
    let resizer = AntialiasedResizer(rows: dims[1], columns: dims[0], toRows: rows, toColumns: columns)
    let result = try Tensor([1, rows, columns], in: budget, "slice")
    let scratch = try Tensor([max(resizer.scratchCount, 1)], in: budget, "resizing")
    if let to = result.floats.baseAddress, let room = scratch.floats.baseAddress { resizer.resize(base, into: to, scratch: room) }
    withExtendedLifetime((plane, scratch)) {}
    return PretrainingSlice(result, units: .hounsfield)
  }
}
