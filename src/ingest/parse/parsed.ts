import { reasonOf } from '../../kernel/reason.ts'
/** A document as text, and where its parts stand in it. */
export interface Parsed {
  readonly text: string
  /**
   * In order, not overlapping, none empty; what stands between them is white space or prose without a mark.
   */
  readonly blocks: readonly Block[]
}

/** Half-open range of UTF-16 offsets in `Parsed.text`. */
export interface Block {
  readonly kind: 'heading' | 'paragraph' | 'code' | 'table' | 'list'
  readonly start: number
  readonly end: number
  /** Headings: 1 to 6. */
  readonly level?: number
  /** Headings: their words without markup. */
  readonly title?: string
  /** Tables: offset behind the rows that head the columns. */
  readonly headerEnd?: number
  /** PDF: counted from 1. */
  readonly page?: number
}

/**
 * Each passage carries the titles of all headings above it: one of a megabyte would be copied a thousand
 * times.
 */
const TITLE_CHARACTERS_MAX = 200

/** As much of a heading's title as is kept: its first characters, none of them half a pair. */
export const cutTitle = (title: string): string =>
  title.length <= TITLE_CHARACTERS_MAX
    ? title
    : title.slice(0, TITLE_CHARACTERS_MAX).replace(/[\uD800-\uDBFF]$/, '')

/** Media types that can be parsed, and their formats. */
export const mimeTypes = {
  markdown: 'text/markdown',
  plain: 'text/plain',
  html: 'text/html',
  json: 'application/json',
  pdf: 'application/pdf',
  docx: 'application/vnd.openxmlformats-officedocument.wordprocessingml.document',
} as const

/** A format that can be parsed. */
export type DocumentFormat = keyof typeof mimeTypes

/** Every media type that documents may have. */
export const supportedMimeTypes: readonly string[] = Object.values(mimeTypes)

/** Bytes, and the media type that the service claims for them. */
export interface ParseInput {
  /** With or without parameters; `charset` counts for the text types and is UTF-8 by default. */
  readonly mimeType: string
  readonly bytes: Uint8Array
}

/** Bounds of one reading. */
export interface ParseLimits {
  /** Size of the document as sent. Default 50 MiB. */
  readonly bytesMax: number
  /** Length of the text that comes out, in UTF-16 units. Default 10 million. */
  readonly charactersMax: number
  /** Pages of a PDF. Default 5000. */
  readonly pagesMax: number
  /** Bytes that a packed document (DOCX) may unpack to. Default 200 MiB. */
  readonly unpackedBytesMax: number
  /** Processor time for one document, so that a busy machine takes what a quiet one does. Default 60 s. */
  readonly cpuMsMax: number
  /** The clock's end for one that stands still, far above. Default 10 minutes. */
  readonly timeoutMs: number
  /** Memory for one document, on the heap and beside it. Default 512 MiB. */
  readonly memoryBytesMax: number
}

const MIB = 1024 * 1024

/** Limits where the configuration names none. */
export const parseLimitsDefault: ParseLimits = {
  bytesMax: 50 * MIB,
  charactersMax: 10_000_000,
  pagesMax: 5000,
  unpackedBytesMax: 200 * MIB,
  cpuMsMax: 60_000,
  timeoutMs: 600_000,
  memoryBytesMax: 512 * MIB,
}

/** Why a document cannot be parsed; part of the API. */
export type ParseErrorCode = 'unsupported_media_type' | 'unreadable' | 'too_large' | 'timed_out'

/** A document that is not taken. `detail` may be shown to whoever sent it; it never quotes the document. */
export class ParseError extends Error {
  readonly code: ParseErrorCode
  readonly detail: string

  constructor(code: ParseErrorCode, detail: string, cause?: unknown) {
    super(`${code}: ${detail}`, { cause })
    this.name = 'ParseError'
    this.code = code
    this.detail = detail
  }
}

/**
 * There is no thread to read with, for want of memory, of processes or of files: another try may find one.
 */
export class ThreadError extends Error {
  constructor(cause: unknown) {
    const reason = reasonOf(cause)
    super(`No thread that reads documents can start: ${reason}`, { cause })
    this.name = 'ThreadError'
  }
}

/** The format of a media type such as `text/html; charset=utf-8`. Throws `unsupported_media_type`. */
export function formatOf(mimeType: string): { readonly format: DocumentFormat; readonly charset: string } {
  const [essence = '', ...parameters] = mimeType.split(';').map((segment) => segment.trim())
  const formats = Object.keys(mimeTypes) as DocumentFormat[]
  const format = formats.find((name) => mimeTypes[name] === essence.toLowerCase())
  if (format === undefined) {
    throw new ParseError('unsupported_media_type', `Documents are read as ${supportedMimeTypes.join(', ')}.`)
  }
  const charset = parameters.find((parameter) => /^charset=/i.test(parameter))
  return { format, charset: charset?.slice('charset='.length).replaceAll('"', '') ?? 'utf-8' }
}
