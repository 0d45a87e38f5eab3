"""This package lets bodies with a velocity field of their own push each other, slide and come apart on the grid."""

from dataset.mpm.contact.body_contact import MOST_BODIES, BodyContact
from dataset.mpm.contact.settings import DEFAULT_FRICTION, ContactSettings

__all__ = ["DEFAULT_FRICTION", "MOST_BODIES", "BodyContact", "ContactSettings"]
