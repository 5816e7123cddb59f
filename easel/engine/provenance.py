"""What a file says of its making, where other programs look for it: an XMP packet.

The properties are those of the IPTC Photo Metadata Standard 2025.1, https://iptc.org/standards/photo-metadata/
"""

from xml.sax.saxutils import escape

KEYWORD = "XML:com.adobe.xmp"  # of the PNG chunk that holds a packet
AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
    xmlns:xmp="http://ns.adobe.com/xap/1.0/">
   <Iptc4xmpExt:DigitalSourceType>{kind}</Iptc4xmpExt:DigitalSourceType>
   <Iptc4xmpExt:AISystemUsed>{engine}</Iptc4xmpExt:AISystemUsed>
   <Iptc4xmpExt:AISystemVersionUsed>{checkpoint}</Iptc4xmpExt:AISystemVersionUsed>
   <xmp:CreatorTool>easel</xmp:CreatorTool>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="r"?>"""


def made_by(engine: str, checkpoint: str) -> str:
    """The packet of a picture that a model made: that it did, and which."""
    return PACKET.format(kind=AI_MADE, engine=escape(engine), checkpoint=escape(checkpoint))
