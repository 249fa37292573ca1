internal import Imaging
internal import Platform
internal import Slices
internal import Tensors
internal import WeightFiles

extension CurationRun {
  /// Writes the plan of a new part, or compares with the one that is there. Throws: `.state` when it is another.
  func agreeOnPlan(_ destination: String) throws(MedDINOError) {
    guard let old = try folder.plan() else {
      guard !folder.isFinished() else {
        throw .state("\(folder.path): holds a finished part whose plan is gone, expected a new folder or another name")
      }
      earlier = try otherParts(destination)
      try folder.write(plan.json(earlier: earlier), "\(SliceSet.resumeFolder)/\(SliceSet.planName)")
      return
    }
    let source = "\(folder.resume)/\(SliceSet.planName)"
    for entry in try JSONFields(old, source).list("earlier_parts") {
      let fields = JSONFields(entry, source)
      earlier.append((try fields.text("name"), try fields.text("sha256")))
    }
    if let difference = CurationPlan.difference(old, plan.json(earlier: earlier)) {
      throw .state(
        "\(folder.path): was begun otherwise: \(difference); expected the same command, another name, or the folder removed")
    }
  }

  /// Finished parts beside this one.
  private func otherParts(_ destination: String) throws(MedDINOError) -> [(name: String, sha256: String)] {
    var parts: [(name: String, sha256: String)] = []
    guard plan.rules.dropsDuplicates else { return parts }
    for name in try folderEntries(destination) where name != plan.source.name && !name.hasPrefix(".") {
      if SliceSet.isUnfinished(destination + "/" + name) {
        log(.warning, "\(destination)/\(name) is not finished, its slices do not count as seen")
      }
      guard FileKind.of("\(destination)/\(name)/\(SliceManifest.fileName)") == .regular else { continue }
      parts.append((name, try SliceManifest.read(destination + "/" + name).sha256))
    }
    return parts
  }

  /// The digests of the parts that the plan names. Throws: `.state` when one is not what it was.
  func loadEarlier(_ destination: String) throws(MedDINOError) {
    for part in earlier {
      let path = destination + "/" + part.name
      let (manifest, sha256) = try SliceManifest.read(path)
      guard sha256 == part.sha256 else {
        throw .state("\(path): changed since \(folder.path) was begun; remove the latter to begin anew")
      }
      for record in manifest.shards {
        try SliceSet.forEachRow(in: path, record) { (row) throws(MedDINOError) in try seen.insert(row.digest) }
      }
    }
  }

  /// The digests of images that must stay out, kept in a file for a later run.
  func loadExcluded() throws(MedDINOError) {
    guard !plan.excludedImages.isEmpty else { return }
    let file = folder.resume + "/excluded.npy"
    if FileKind.of(file) == .regular {
      try DigestFile.read(file) { (digest) throws(MedDINOError) in try excluded.insert(digest) }
      return
    }
    var digests: [SliceDigest] = []
    let total = Double(max(plan.excludedImages.reduce(0) { $0 + $1.bytes }, 1))
    var done = 0
    for image in plan.excludedImages {
      try control.update(Double(done) / total)
      // A file that cannot be read could be one that must stay out: always an error.
      let volume = try options.reader.read(image.path, in: budget, control: control.still(at: Double(done) / total))
      guard volume.channels == 1 else { throw .unsupported("\(image.path): \(volume.channels) channels, expected one") }
      let extractor = try SliceExtractor(volume, rules: plan.rules, in: budget)
      digests += try extractor.digests(pool, control)
      done += image.bytes
    }
    try DigestFile.write(digests, to: file)
    for digest in digests { try excluded.insert(digest) }
  }

  /// Takes over the complete shards of a run that was stopped. The first one that is not whole, and all behind it, are made again.
  func resume() throws(MedDINOError) {
    var last: ShardStep?
    while let step = try readableStep(), isWhole(step) {
      shards.append(step.record)
      cases += step.cases
      intensities.add(step.intensities)
      written += step.record.slices
      last = step
    }
    guard let last else { return }
    guard cases.count == last.caseNumber, last.caseNumber < plan.volumes.count else {
      throw .format("\(folder.path)/\(folder.stepName(shards.count - 1)): volume \(last.caseNumber) after \(cases.count) finished ones")
    }
    resumeCase = last.caseNumber
    for record in shards {
      try SliceSet.forEachRow(in: folder.path, record) { (row) throws(MedDINOError) in
        if row.caseNumber < resumeCase { try seen.insert(row.digest) } else { resumeDigests.append(row.digest) }
      }
    }
    guard resumeDigests.count == last.keptOfCase else {
      throw .format(
        "\(folder.path): the shards hold \(resumeDigests.count) slices of \(plan.volumes[resumeCase].name), expected \(last.keptOfCase)")
    }
    log(.info, "going on behind \(written) slices of an earlier run")
  }

  /// What stands behind the next shard; nil when it is not complete, or damaged (it is made again then).
  private func readableStep() throws(MedDINOError) -> ShardStep? {
    do throws(MedDINOError) { return try folder.step(shards.count) } catch {
      guard error.kind == .format else { throw error }
      log(.warning, "made again from shard \(shards.count): \(error.message)")
      return nil
    }
  }

  private func isWhole(_ step: ShardStep) -> Bool {
    let names = SliceShardWriter.names(plan.source.name, shards.count)
    guard step.record.file == names.tar, step.record.index == names.index, step.record.slices == plan.shardSlices else { return false }
    do throws(MedDINOError) {
      try SliceSet.forEachRow(in: folder.path, step.record) { _ in }
      return true
    } catch { return false }
  }
}
