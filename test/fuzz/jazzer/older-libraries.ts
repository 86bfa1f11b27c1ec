import { readFileSync, writeFileSync } from 'node:fs'

const sectionTypes = { symbols: 11, versionsNeeded: 0x6fff_fffe, versions: 0x6fff_ffff }
const newerVersions = ['GLIBC_2.38', 'GLIBCXX_3.4.32']
const weak = 2

/**
 * Lets Jazzer's addon run where glibc is older than 2.38 and GCC's library older than that of 13 (Debian 12).
 * It needs three names of them: two by which C23 calls functions that have always been there, and one that
 * nobody calls. Where they are newer, it finds the old names as well.
 */
export function allowOlderLibraries(addonPath: string): void {
  const file = readFileSync(addonPath)
  const sectionsAt = Number(file.readBigUInt64LE(0x28))
  const sections = Array.from({ length: file.readUInt16LE(0x3c) }, (_, index) => {
    const at = sectionsAt + index * file.readUInt16LE(0x3a)
    const [offset = 0, size = 0] = [24, 32].map((member) => Number(file.readBigUInt64LE(at + member)))
    return { type: file.readUInt32LE(at + 4), offset, size, link: file.readUInt32LE(at + 40) }
  })
  const sectionOf = (type: number) => sections.find((section) => section.type === type)
  const symbols = sectionOf(sectionTypes.symbols)
  const versions = sectionOf(sectionTypes.versions)
  const needed = sectionOf(sectionTypes.versionsNeeded)
  const texts = sections[symbols?.link ?? -1]
  if (!symbols || !versions || !needed || !texts) throw new Error(`${addonPath} is no addon for Linux.`)
  const textAt = (offset: number): string => {
    const start = texts.offset + offset
    return file.toString('latin1', start, file.indexOf(0, start))
  }
  for (let index = 0; index < symbols.size / 24; index += 1) {
    const at = symbols.offset + 24 * index
    const name = file.readUInt32LE(at)
    const text = textAt(name)
    if (text.startsWith('__isoc23_')) file.writeUInt32LE(name + '__isoc23_'.length, at)
    else if (text === '_ZSt21ios_base_library_initv') file[at + 4] = ((file[at + 4] ?? 0) % 16) | (weak << 4)
    else continue
    // Of whichever version there is.
    file.writeUInt16LE(1, versions.offset + 2 * index)
  }
  for (let at = needed.offset, isLast = false; !isLast; at += file.readUInt32LE(at + 12)) {
    let one = at + file.readUInt32LE(at + 8)
    for (let left = file.readUInt16LE(at + 2); left > 0; left -= 1, one += file.readUInt32LE(one + 12))
      if (newerVersions.includes(textAt(file.readUInt32LE(one + 8)))) file.writeUInt16LE(weak, one + 4)
    isLast = file.readUInt32LE(at + 12) === 0
  }
  writeFileSync(addonPath, file)
}
