// Package pst reads and writes the files of Outlook and of Exchange's exports: personal
// folders (PST), offline folders (OST) and personal address books (PAB), ANSI
// and Unicode, with pages of 512 bytes and of 4 KiB ([MS-PST]; for the latter,
// which Microsoft has not published, what the files themselves show).
//
// The layers are those of the specification:
//
//   - NDB ([MS-PST] 2.2): header.go, page.go, btree.go, block.go, datatree.go and
//     subnode.go turn the bytes of the file into nodes;
//   - LTP ([MS-PST] 2.3): heap.go, bth.go, propertycontext.go, tablecontext.go and
//     value.go turn nodes into properties and tables;
//   - messaging ([MS-PST] 2.4): store.go, named.go, folder.go, message.go and
//     attachment.go turn these into what package mapi translates.
//
// Nothing is read before it is asked for. What is kept is two bounded caches
// and eight bytes for each folder and message of the file; large properties are streams.
//
// Damage never ends the reading. A wrong checksum or signature is told to
// Options.Report and the bytes are used; what cannot be used is an error of type
// *Damage that names node, block and offset, and the next item, row or property
// follows. Messages and folders are found both by the tables of their folder and
// by the parents that the node tree records. Where a root of the trees is lost,
// Open scans the file for what was in it; File.Recover does so on demand,
// and finds deleted items too.
//
// Writer writes Unicode PST files of any size as Outlook does: space.go gives
// out room, writeblock.go, writeheap.go and writetable.go are the layers below,
// writefolder.go and writeitem.go take what package mapi describes.
//
// Passwords protect nothing in these files and are not asked for.
package pst
